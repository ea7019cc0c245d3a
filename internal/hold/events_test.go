package hold

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

var at = time.Unix(1_700_000_000, 5).UTC()

func newRecorder(t *testing.T, s kv.Store) (r Recorder, lost *[]error) {
	t.Helper()
	l, err := kv.NewLayout("p")
	if err != nil {
		t.Fatal(err)
	}
	lost = &[]error{}
	return Recorder{Store: s, Layout: l, Lost: func(err error) { *lost = append(*lost, err) }}, lost
}

func setX(kv.Snapshot) ([]kv.Op, error) {
	return []kv.Op{{Verb: kv.Set, Path: "x", Value: []byte("y")}}, nil
}

// The newest events stay, in the order in which they were written, within the limits.
func TestAppend(t *testing.T) {
	var row []byte
	for i := range 2*MaxEvents + 1 {
		row = AppendEvent(row, Event{Time: at.Add(-time.Duration(i) * time.Hour), Who: "ann@build", Action: ActionStop, Version: uint64(i)})
	}
	all, damaged := ParseEvents(row)
	if len(all) != MaxEvents || damaged > 0 || all[0].Version != 2*MaxEvents || all[MaxEvents-1].Version != MaxEvents+1 || all[0].Time.Nanosecond() != 0 {
		t.Errorf("%d events and %d damaged lines, from %+v to %+v", len(all), damaged, all[0], all[len(all)-1])
	}
	foul := strings.Repeat("\x1b\n", 4096)
	for range 2 * MaxEvents {
		row = AppendEvent(row, Event{Time: at, Who: foul, Action: ActionLock, File: foul[:4096], Reason: foul})
	}
	if all, _ = ParseEvents(row); len(row) > MaxEventRow || len(all) < 2 || len(all[0].Reason) > kv.MaxReason || len(all[0].Who) > maxWho {
		t.Errorf("%d bytes, %d events", len(row), len(all))
	}
	// A line that a later version wrote stays, one that is cut short goes.
	row = AppendEvent([]byte(`{"time":"2040-01-01T00:00:00Z","action":"later","more":1}`+"\n"+`{"time":"20`), Event{Time: at, Action: ActionStop})
	if all, damaged = ParseEvents(row); len(all) != 2 || damaged > 0 || !bytes.Contains(row, []byte(`"more":1`)) {
		t.Errorf("%s", row)
	}
	if row = AppendEvent(bytes.Repeat([]byte("x"), kv.MaxValue), Event{Time: at, Action: ActionStop}); !json.Valid(row) {
		t.Errorf("%.100s", row)
	}
}

// An action happens with its event, or without it.
func TestDo(t *testing.T) {
	for name, c := range map[string]struct {
		deny func(path string, write bool) bool
		lost bool
		err  error
	}{
		"may all":                      {func(string, bool) bool { return false }, false, nil},
		"may not write the event":      {func(path string, write bool) bool { return write && path != "x" }, true, nil},
		"may not see the event":        {func(path string, _ bool) bool { return path != "x" }, true, nil},
		"may not act":                  {func(path string, write bool) bool { return write && path == "x" }, false, kv.ErrDenied},
		"may neither act nor leave it": {func(_ string, write bool) bool { return write }, false, kv.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			r, lost := newRecorder(t, embedded.New(embedded.Deny(c.deny)))
			did, err := r.Do(t.Context(), Event{Time: at, Action: ActionStop, Key: "hosts"}, nil, setX)
			if !errors.Is(err, c.err) || did != (c.err == nil) || len(*lost) > 0 != c.lost {
				t.Errorf("%t, %v, lost: %v", did, err, *lost)
			}
			past, err := r.Read(t.Context(), "hosts")
			if err != nil || len(past["hosts"]) > 0 != (c.err == nil && !c.lost) {
				t.Errorf("the events are %v, %v", past, err)
			}
		})
	}
}

// If the store is unreachable after an unknown outcome, the outcome stays unknown.
func TestUnknownStaysUnknown(t *testing.T) {
	s := &rival{Store: embedded.New(), unknown: true, away: true}
	r, _ := newRecorder(t, s)
	if did, err := r.Do(t.Context(), Event{Time: at, Action: ActionStop}, nil, setX); did || !errors.Is(err, kv.ErrUnknownOutcome) {
		t.Errorf("%t, %v", did, err)
	}
}

// rival writes the event's row before each commit, so many times, and says of the first
// commit that its outcome is unknown.
type rival struct {
	kv.Store
	times   int
	unknown bool
	away    bool // once the outcome was unknown
}

func (s *rival) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if s.away && !s.unknown {
		return nil, &kv.StoreError{Kind: kv.ErrUnreachable}
	}
	return s.Store.Read(ctx, c, paths...)
}

func (s *rival) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if s.times--; s.times >= 0 {
		other := kv.Op{Verb: kv.Set, Path: "p-events/hosts", Value: fmt.Appendf(nil, "{%d", s.times)}
		if _, err := s.Store.Commit(ctx, []kv.Op{other}); err != nil {
			return nil, err
		}
	}
	done, err := s.Store.Commit(ctx, ops)
	if s.unknown && err == nil {
		s.unknown = false
		return nil, &kv.StoreError{Kind: kv.ErrUnknownOutcome}
	}
	return done, err
}

func TestRivals(t *testing.T) {
	for times, lost := range map[int]int{0: 0, 3: 0, maxTries + 1: 1} {
		r, told := newRecorder(t, &rival{Store: embedded.New(), times: times})
		did, err := r.Do(t.Context(), Event{Time: at, Action: ActionStop, Key: "hosts"}, nil, setX)
		if err != nil || !did || len(*told) != lost {
			t.Errorf("%d rivals: %t, %v, lost: %v", times, did, err, *told)
		}
	}
	r, _ := newRecorder(t, &rival{Store: embedded.New(), unknown: true})
	did, err := r.Do(t.Context(), Event{Time: at, Action: ActionStop, Key: "hosts"}, []string{"x"}, func(rows kv.Snapshot) ([]kv.Op, error) {
		if rows["x"].State == kv.Present {
			return nil, nil
		}
		return setX(rows)
	})
	past, err2 := r.Read(t.Context(), "hosts")
	if err != nil || !did || err2 != nil || len(past["hosts"]) != 1 {
		t.Errorf("an unknown outcome: %t, %v, %v, %v", did, err, past, err2)
	}
}
