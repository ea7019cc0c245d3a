package web

import (
	"cmp"
	"fmt"
	"net/http"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// touch is what an action will touch.
type touch struct {
	Does  string // what it does
	Nodes string
	Diff  string // path
}

// describe says what an action will touch, and notes the state that the caller sees. The error is that there is nothing to do.
func (w *Web) describe(a *asked, o *order) (t touch, err error) {
	r := a.detail(o.key)
	t = touch{Nodes: nodesOf(*r)}
	o.live = r.Version
	stop := a.live[o.key].Stop.Reason()
	switch o.do {
	case doStop:
		if stop != "" {
			return t, &problem{http.StatusConflict, "The key is stopped already: " + stop}
		}
		t.Does = "No node installs another version until the key is resumed. New versions are refused."
		if row := w.openRollout(a, o.key); row != nil {
			t.Does += fmt.Sprintf(" The rollout of version %d is frozen, too: %s may have it. To take it back, abort the rollout, "+
				"and then resume the key.", row.Version, render.Plural(row.Admitted, "node"))
		}
	case doResume:
		if stop == "" {
			return t, &problem{http.StatusConflict, "The key is not stopped."}
		}
		o.was = digest(stop)
		t.Does = fmt.Sprintf("The stop ends: %s. All nodes install version %d if they do not have it.", stop, r.Version)
	case doRollback:
		err = w.askRollback(a, o, &t)
	default:
		err = w.askRollout(a, o, &t)
	}
	return t, err
}

// nodesOf counts the nodes that an action on a key reaches.
func nodesOf(r fleet.Report) string {
	locked := 0
	for _, l := range r.Lines {
		if l.Outcome == outcome.Locked {
			locked++
		}
	}
	return fmt.Sprintf("%s, %d locked", render.Plural(r.Nodes, "node"), locked)
}

// askRollback describes a version, as far as the caller may read it.
func (w *Web) askRollback(a *asked, o *order, t *touch) error {
	if row := w.openRollout(a, o.key); row != nil {
		return &problem{http.StatusConflict, fmt.Sprintf("The rollout of version %d is %s. Abort it, or wait until it ends.",
			row.Version, row.State)}
	}
	store, err := w.o.As(w.o.Token(a.r))
	if err != nil {
		return err
	}
	list, err := record.History{Store: store, Layout: w.o.Layout}.List(a.ctx, o.key)
	if err != nil {
		return &problem{http.StatusForbidden, w.guide(*o).Explain(err)}
	}
	for _, v := range list.Versions {
		if v.Number != o.to || o.to == 0 || v.Live {
			continue
		}
		t.Does = fmt.Sprintf("The content of version %d (%s%s) is published again, to all nodes at once, without the stages of "+
			"a policy.", o.to, render.Plural(v.Lines, "line"), publishedBy(v))
		t.Diff = fmt.Sprintf("/history/%s?from=%d&to=%d#diff", escapePath(string(o.key)), o.live, o.to)
		return nil
	}
	return &problem{http.StatusNotFound, fmt.Sprintf("Version %d of %s is not kept, or is live.", o.to, o.key)}
}

// askRollout describes an order about the open rollout.
func (w *Web) askRollout(a *asked, o *order, t *touch) error {
	b := w.rollout(a, o.key)
	switch {
	case b == nil:
		return &problem{http.StatusConflict, "The key has had no rollout."}
	case b.Why != "":
		return &problem{http.StatusServiceUnavailable, b.Why}
	}
	row := b.Row
	o.rollout, o.state, o.stage = row.ID, row.State, row.Stage
	for _, s := range b.Next {
		if s.do == o.do {
			t.Does = s.does
			t.Nodes = fmt.Sprintf("%d of %s may have version %d", row.Admitted, render.Plural(row.Counted, "node"), row.Version)
			return nil
		}
	}
	return &problem{http.StatusConflict, fmt.Sprintf("The rollout is %s, so this cannot be done now.", row.State)}
}

// openRollout is the rollout of a key that has not ended. nil: there is none, or the caller may not see it.
func (w *Web) openRollout(a *asked, k kv.Key) *rollout.Row {
	if b := w.rollout(a, k); b != nil && b.Row != nil && !b.Row.State.Ended() {
		return b.Row
	}
	return nil
}

// publishedBy says when a version was published, and by whom.
func publishedBy(v record.Version) string {
	if m := v.Manifest; m != nil && v.State != record.Unmanaged {
		return fmt.Sprintf(", published %s by %s", render.Time(m.PublishedAt), cmp.Or(m.By, "unknown"))
	}
	return ""
}
