package publish

import (
	"bytes"
	"errors"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// offered puts a candidate after the live version, and its rollout.
func offered(t *testing.T, p *Publisher, text string) Promotion {
	t.Helper()
	l, now := p.Layout, func(path string) kv.Entry { return get1(t, p.Store, path) }
	live, err := kv.ParseManifest(now(l.Manifest(hosts)).Value)
	if err != nil {
		t.Fatal(err)
	}
	m := live
	m.Version, m.Previous, m.SHA256, m.Size, m.PublishID = live.Version+1, live.Version, record.Checksum([]byte(text)), int64(len(text)), kv.NewID()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	put(t, p.Store, l.HistoryManifest(hosts, m.Version), string(b), 0)
	put(t, p.Store, l.HistoryData(hosts, m.Version), text, 0)
	put(t, p.Store, l.HistoryPending(hosts, m.Version), m.PublishID, 0)
	row := rollout.Row{ID: kv.NewID(), Key: hosts, Version: m.Version, SHA256: m.SHA256, State: rollout.Running,
		Plan: rollout.Plan{Stages: []rollout.Stage{{Count: 1}}},
		Base: rollout.Base{Version: live.Version, SHA256: live.SHA256, Data: now(l.Data(hosts)).Index,
			Checksum: now(l.Checksum(hosts)).Index, Manifest: now(l.Manifest(hosts)).Index}}
	if b, err = row.Marshal(); err != nil {
		t.Fatal(err)
	}
	put(t, p.Store, l.Rollout(hosts), string(b), 0)
	next := row
	next.State, next.Stage, next.Counter = rollout.Promoted, 1, row.Counter+1
	return Promotion{Row: row, Index: now(l.Rollout(hosts)).Index, Next: next,
		Event: &hold.Event{Time: p.Now(), Who: "hub1", Action: hold.ActionPromoted, Key: hosts}}
}

// A promotion makes the candidate current, verbatim, with the end of its rollout and the event.
func TestPromote(t *testing.T) {
	p := publisher(t, newStore())
	do(t, p, "one\n")
	pr := offered(t, p, "two\n")
	manifest := get1(t, p.Store, p.Layout.HistoryManifest(hosts, 2)).Value
	if lost, err := p.Promote(t.Context(), pr); lost != nil || err != nil {
		t.Fatal(lost, err)
	}
	if got := get1(t, p.Store, p.Layout.Manifest(hosts)).Value; !bytes.Equal(got, manifest) {
		t.Errorf("the manifest is %s, not the candidate's", got)
	}
	if mark := get1(t, p.Store, p.Layout.HistoryPending(hosts, 2)); mark.State != kv.Absent {
		t.Error("the candidate is still marked as one that was never live")
	}
	row, err := rollout.ParseRow(hosts, get1(t, p.Store, p.Layout.Rollout(hosts)))
	if err != nil || row.State != rollout.Promoted {
		t.Errorf("the row is %+v, %v", row, err)
	}
	events, _ := hold.ParseEvents(get1(t, p.Store, p.Layout.Events(hosts)).Value)
	if len(events) != 1 || events[0].Action != hold.ActionPromoted || events[0].Version != 2 {
		t.Errorf("the events are %+v", events)
	}
	mustBeLive(t, p.Store, p.Layout, hosts, Result{Version: 2, Lineage: lineageOf(t, manifest)}, []byte("two\n"))
	if res := do(t, p, "three\n"); res.Version != 3 || res.Previous != 2 {
		t.Errorf("the next version is %d after %d", res.Version, res.Previous)
	}
}

func lineageOf(t *testing.T, manifest []byte) string {
	t.Helper()
	m, err := kv.ParseManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return m.Lineage
}

// A promotion changes nothing if anything changed since the rollout began, or its candidate is damaged.
func TestPromoteRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, p *Publisher)
		want   func(error) bool
	}{
		"1.x wrote data":     {func(t *testing.T, p *Publisher) { put(t, p.Store, p.Layout.Data(hosts), "x\n", 0) }, isConflict},
		"1.x wrote checksum": {func(t *testing.T, p *Publisher) { put(t, p.Store, p.Layout.Checksum(hosts), "x", 0) }, isConflict},
		"manifest removed":   {func(t *testing.T, p *Publisher) { remove(t, p.Store, p.Layout.Manifest(hosts)) }, isConflict},
		"row changed":        {func(t *testing.T, p *Publisher) { put(t, p.Store, p.Layout.Rollout(hosts), "{}", 0) }, isConflict},
		"stopped":            {func(t *testing.T, p *Publisher) { put(t, p.Store, p.Layout.Stop(hosts), "why", 0) }, isA[*gate.Stopped]},
		"data damaged":       {func(t *testing.T, p *Publisher) { put(t, p.Store, p.Layout.HistoryData(hosts, 2), "x", 0) }, isA[*gate.Refusal]},
		"no candidate":       {func(t *testing.T, p *Publisher) { remove(t, p.Store, p.Layout.HistoryManifest(hosts, 2)) }, isA[*gate.Refusal]},
		"another's candidate": {func(t *testing.T, p *Publisher) {
			put(t, p.Store, p.Layout.HistoryPending(hosts, 2), "another", 0)
		}, isA[*gate.Refusal]},
	} {
		t.Run(name, func(t *testing.T) {
			p := publisher(t, newStore())
			do(t, p, "one\n")
			pr := offered(t, p, "two\n")
			c.change(t, p)
			before := liveRows(t, p)
			if _, err := p.Promote(t.Context(), pr); !c.want(err) {
				t.Errorf("got %v", err)
			}
			if got := liveRows(t, p); got != before {
				t.Errorf("the live rows were %v, and are %v", before, got)
			}
		})
	}
}

// Between its read and its write, a stop and a publish make it fail, too.
func TestPromoteRaced(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, p *Publisher){
		"stop":      func(t *testing.T, p *Publisher) { put(t, p.Store, p.Layout.Stop(hosts), "why", 0) },
		"publish":   func(t *testing.T, p *Publisher) { do(t, p, "other\n") },
		"candidate": func(t *testing.T, p *Publisher) { put(t, p.Store, p.Layout.HistoryPending(hosts, 2), "another", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			p := publisher(t, s)
			do(t, p, "one\n")
			pr := offered(t, p, "two\n")
			p.Fault = func(at Point) error {
				if at == AtPromote {
					change(t, publisher(t, s))
				}
				return nil
			}
			if _, err := p.Promote(t.Context(), pr); !isConflict(err) {
				t.Errorf("got %v", err)
			}
			if got := get1(t, s, p.Layout.Data(hosts)).Value; string(got) == "two\n" {
				t.Error("the candidate is live")
			}
		})
	}
}

// If the answer is lost, it finds out what happened, and does not fail if the candidate is current.
func TestPromoteUnknown(t *testing.T) {
	s := &probe{Store: newStore()}
	p := publisher(t, s)
	do(t, p, "one\n")
	pr := offered(t, p, "two\n")
	s.after = func(int, []kv.Op, error) error { s.after = nil; return errUnknown }
	if _, err := p.Promote(t.Context(), pr); err != nil {
		t.Fatal(err)
	}
	if got := get1(t, s, p.Layout.Data(hosts)).Value; string(got) != "two\n" {
		t.Errorf("the live data is %q", got)
	}
}

func isConflict(err error) bool { return errors.Is(err, kv.ErrConflict) }

func isA[T error](err error) bool {
	var want T
	return errors.As(err, &want)
}

// liveRows are data, checksum and manifest in one text.
func liveRows(t *testing.T, p *Publisher) string {
	t.Helper()
	var text string
	for _, path := range []string{p.Layout.Data(hosts), p.Layout.Checksum(hosts), p.Layout.Manifest(hosts)} {
		text += string(get1(t, p.Store, path).Value) + "|"
	}
	return text
}
