package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

// recorder writes events, and warns if it cannot.
func (s *session) recorder() hold.Recorder {
	return hold.Recorder{Store: s.store, Layout: s.layout, Lost: func(err error) {
		s.warn("done, but no event was written: " + s.guide().Explain(err))
	}}
}

// by is the author of an event.
func (s *session) by(ctx context.Context) hold.Event {
	e := hold.Event{Time: s.started, Who: s.author()}
	if store, ok := s.plain.(interface{ Accessor(context.Context) string }); ok {
		e.Accessor = store.Accessor(ctx)
	}
	return e
}

// actor is a freezer with an author: it acts on a key, or on files of a node.
func (s *session) actor(ctx context.Context, node string) hold.Freezer {
	f := s.freezer()
	f.Host, f.By = node, s.by(ctx)
	return f
}

// keyOf is the key of a file on a node, by the node's receipt; "": unknown.
func (s *session) keyOf(ctx context.Context, node, file string) kv.Key {
	ctx, cancel := context.WithTimeout(ctx, receiptLimit)
	defer cancel()
	path := s.layout.Node(node)
	rows, err := s.plain.Read(ctx, kv.Default, path)
	s.debug("the receipt was not read", err)
	r, err := fleet.ParseReceipt(node, rows[path].Value, rows[path].Flags)
	if err != nil {
		return ""
	}
	for _, t := range r.Targets {
		if k, err := kv.ParseKey(t.Key); err == nil && t.File == file {
			return k
		}
	}
	return ""
}

// eventsOf shows the events of a key; without a key, those of nodes.
func (s *session) eventsOf(ctx context.Context, name string, most int) (report, error) {
	k := hold.NodeEvents
	if name != "" {
		var err error
		if k, err = s.key(name); err != nil {
			return nil, err
		}
	}
	path, checksum := s.layout.Events(k), s.layout.Checksum(k)
	rows, err := s.store.Read(ctx, kv.Default, path, checksum)
	switch {
	case err != nil:
		return nil, err
	case rows[path].State == kv.Denied:
		return nil, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
	case rows[path].State == kv.Absent && rows[checksum].State == kv.Absent && name != "":
		return nil, &gate.Missing{Name: string(k)}
	}
	r := eventReport{Key: name, now: s.started}
	r.Events, r.Damaged = hold.ParseEvents(rows[path].Value)
	if most > 0 {
		r.Events = r.Events[:min(most, len(r.Events))]
	}
	r.Events = append([]hold.Event{}, r.Events...)
	return r, nil
}

type eventReport struct {
	Key     string       `json:"key,omitempty"`
	Events  []hold.Event `json:"events"`
	Damaged int          `json:"damaged,omitempty"` // lines that cannot be read

	now time.Time
}

func (r eventReport) lines() []string {
	if len(r.Events) == 0 && r.Damaged == 0 {
		return []string{"no events"}
	}
	rows := [][]string{{"TIME", "ACTION", "WHO", "ON", "REASON"}}
	for _, e := range r.Events {
		on := strings.TrimSpace(e.Node + " " + e.File)
		if e.Version > 0 {
			on = render.Version(e.Version)
		}
		rows = append(rows, []string{fmt.Sprintf("%s (%s ago)", render.Time(e.Time), render.Span(r.now.Sub(e.Time))), e.Action,
			whoOf(e), render.Dash(on), render.Dash(e.Reason)})
	}
	lines := render.Table(rows)
	if r.Damaged > 0 {
		lines = append(lines, render.Plural(r.Damaged, "damaged line")+" left out")
	}
	return lines
}

// whoOf is the author of an event, with the beginning of the token's accessor.
func whoOf(e hold.Event) string {
	if id, _, ok := strings.Cut(e.Accessor, "-"); ok {
		return e.Who + " (token " + id + ")"
	}
	return render.Dash(e.Who)
}
