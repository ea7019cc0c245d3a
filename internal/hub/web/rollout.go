package web

import (
	"fmt"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// rolloutBody is the last rollout of a key, as `rollout status` shows it.
type rolloutBody struct {
	rollout.View
	Ago  string // since it began
	Next []step
	Acts bool   // the caller may act
	Why  string // it is not known
}

// rollout is the rollout of a key, for a caller that may read the key's data; nil: there is none.
func (w *Web) rollout(a *asked, k kv.Key) *rolloutBody {
	path := w.o.Layout.Data(k)
	may, err := w.rights.may(a.ctx, w.o.Token(a.r), path)
	switch {
	case err != nil:
		return &rolloutBody{Why: render.Error(err)}
	case !may[path]:
		return &rolloutBody{Why: "your token may not read the data of this key"}
	}
	v, err := w.o.Rollout(a.ctx, k, w.o.Private(a.r))
	switch {
	case err != nil:
		return &rolloutBody{Why: render.Error(err)}
	case v.Row == nil:
		return nil
	}
	b := &rolloutBody{View: v, Ago: render.Span(v.Row.Elapsed(time.Now())), Next: nextSteps(*v.Row), Acts: w.o.MayAct(a.r) == nil}
	for i, s := range b.Next {
		b.Next[i].command = w.command(order{do: s.do, key: k})
	}
	return b
}

// step is what the page can do to a rollout.
type step struct {
	do, label string
	does      string // for people
	command   string // that does the same
}

// nextSteps are the orders that a rollout obeys now.
func nextSteps(r rollout.Row) (steps []step) {
	add := func(do, label, does string) { steps = append(steps, step{do: do, label: label, does: does}) }
	if r.State == rollout.Running || r.State == rollout.Paused {
		for i, stage := range r.Plan.Stages {
			if i >= r.Stage && i > r.Go && stage.PauseBefore {
				add(doPromote, "Promote", fmt.Sprintf("Stage %d of %d (%s) may begin.", i+1, len(r.Plan.Stages), stage.Name()))
				break
			}
		}
	}
	back := "Its nodes install the live version again; the version is withdrawn."
	switch r.State {
	case rollout.Running:
		add(doPause, "Pause", "No further node gets the version; those that have it keep it.")
		add(doAbort, "Abort", back)
	case rollout.Paused, rollout.Halted:
		if steps == nil {
			add(doContinue, "Resume", "It goes on; the bake and the timeout of the stage begin anew.")
		}
		add(doAbort, "Abort", back)
	}
	return steps
}
