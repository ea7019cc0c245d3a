package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

var ann = hold.Event{Time: time.Unix(1_700_000_000, 0), Who: "ann@build", Action: hold.ActionRollback, Key: hosts}

// The event is in the transaction that makes the version live, and never prevents it.
func TestEventOfAPublish(t *testing.T) {
	isEvent := func(path string) bool { return strings.HasPrefix(path, "kvexpress-events/") }
	for name, c := range map[string]struct {
		deny    func(path string, write bool) bool
		content []byte
		left    bool
	}{
		"with all rights":               {func(string, bool) bool { return false }, []byte("one\n"), true},
		"without the right to write it": {func(path string, write bool) bool { return write && isEvent(path) }, []byte("one\n"), false},
		"without the right to see it":   {func(path string, _ bool) bool { return isEvent(path) }, []byte("one\n"), false},
		"with a history of its own":     {func(string, bool) bool { return false }, noise(300<<10, 1), true},
		"without room":                  {func(string, bool) bool { return false }, noise(kv.MaxStored, 1), true}, // right after it
	} {
		t.Run(name, func(t *testing.T) {
			s := &probe{Store: embedded.New(embedded.Deny(c.deny))}
			p := publisher(t, s)
			s.before = func(_ int, ops []kv.Op) ([]kv.Op, error) {
				if alone := len(ops) < 4; isEvent(ops[0].Path) && alone != (name == "without room") && c.left {
					t.Errorf("an event with %d operations", len(ops))
				}
				return ops, nil
			}
			var row []byte
			for range 60 { // events of some size
				row = hold.AppendEvent(row, ann)
			}
			if name == "without room" {
				put(t, s.Store, p.Layout.Events(hosts), string(row), 0)
			}
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: c.content, Event: &ann})
			if err != nil || (res.EventLost == nil) != c.left || res.EventLost != nil && !errors.Is(res.EventLost, kv.ErrDenied) {
				t.Fatalf("%+v, %v", res, err)
			}
			mustBeLive(t, s, p.Layout, hosts, res, c.content)
			all, _ := hold.ParseEvents(get1(t, s, p.Layout.Events(hosts)).Value)
			if left := len(all) > 0 && all[0].Version == 1; left != c.left {
				t.Errorf("the events are %+v", all)
			}
		})
	}
}

// A rival who leaves an event in between costs one more attempt.
func TestEventLosesTheRace(t *testing.T) {
	s := embedded.New()
	p := publisher(t, s)
	before(p, AtPromote, func() { put(t, s, p.Layout.Events(hosts), string(hold.AppendEvent(nil, ann)), 0) })
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("one\n"), Event: &ann})
	all, _ := hold.ParseEvents(get1(t, s, p.Layout.Events(hosts)).Value)
	if err != nil || res.Attempts != 2 || len(all) != 2 {
		t.Errorf("%+v, %v, %+v", res, err, all)
	}
}

// cutOff fails every commit after so many.
type cutOff struct {
	kv.Store
	after int
}

var errCut = errors.New("cut off")

func (s *cutOff) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if s.after--; s.after < 0 {
		return nil, errCut
	}
	return s.Store.Commit(ctx, ops)
}

// Wherever it is cut off, the next run removes the rest, and nothing else.
func TestRetire(t *testing.T) {
	l := layout(t, "kvexpress")
	for after := range 6 {
		s := embedded.New()
		for i := range 12 {
			do(t, publisher(t, s), fmt.Sprint(i))
		}
		for i := range 200 { // what others left there takes more than one transaction
			put(t, s, l.HistoryManifest(hosts, uint64(100+i)), "x", 0)
		}
		others := []string{l.HistoryData("hosts/3", 1), l.HistoryDir(hosts) + "1/a/b", l.Data("hosts2"), l.Dir(hosts) + "readme"}
		for _, path := range others {
			put(t, s, path, "x", 0)
		}
		retire := func(s kv.Store) error {
			left, err := Left(t.Context(), s, l, hosts)
			if err != nil || left.None() {
				return err
			}
			return Retire(t.Context(), hold.Recorder{Store: s, Layout: l}, ann, left)
		}
		if err := retire(&cutOff{s, after}); !errors.Is(err, errCut) {
			t.Errorf("cut off after %d: %v", after, err)
		}
		if err := retire(s); err != nil {
			t.Errorf("repeated after %d: %v", after, err)
		}
		paths, err := s.Keys(t.Context(), "kvexpress/")
		if err != nil || len(paths) != len(others) {
			t.Errorf("after %d, left are %v, %v", after, paths, err)
		}
		if all, _ := hold.ParseEvents(get1(t, s, l.Events(hosts)).Value); len(all) < 1 || len(all) > 2 {
			t.Errorf("after %d, the events are %+v", after, all)
		}
	}

	// A concurrent publish is reported.
	s := embedded.New()
	do(t, publisher(t, s), "one")
	left, err := Left(t.Context(), s, l, hosts)
	if err != nil {
		t.Fatal(err)
	}
	r := hold.Recorder{Store: &again{s, func() { do(t, publisher(t, s), "two") }}, Layout: l}
	if err := Retire(t.Context(), r, ann, left); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("published again: %v", err)
	}
}

// again publishes after the first commit.
type again struct {
	kv.Store
	publish func()
}

func (s *again) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	done, err := s.Store.Commit(ctx, ops)
	if s.publish != nil {
		s.publish()
		s.publish = nil
	}
	return done, err
}
