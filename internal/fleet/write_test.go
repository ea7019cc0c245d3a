package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

const web = "web-1"

// faulty is a store whose requests a test counts, and fails.
type faulty struct {
	kv.Store
	reads, commits, lists atomic.Int64

	read   func(paths []string) error
	commit func(ops []kv.Op) error // before it is done
	done   func(ops []kv.Op) error // after
	list   func(ctx context.Context) error
	off    time.Duration // see Offset
}

// Offset is a fixed clock offset.
func (f *faulty) Offset() (time.Duration, bool) { return f.off, true }

func (f *faulty) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	f.reads.Add(1)
	if f.read != nil {
		if err := f.read(paths); err != nil {
			return nil, err
		}
	}
	return f.Store.Read(ctx, c, paths...)
}

func (f *faulty) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	f.commits.Add(1)
	if f.commit != nil {
		if err := f.commit(ops); err != nil {
			return nil, err
		}
	}
	written, err := f.Store.Commit(ctx, ops)
	if err == nil && f.done != nil {
		if err := f.done(ops); err != nil {
			return nil, err
		}
	}
	return written, err
}

func (f *faulty) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing,
	error) {
	f.lists.Add(1)
	if f.list != nil {
		if err := f.list(ctx); err != nil {
			return kv.Listing{}, err
		}
	}
	return f.Store.List(ctx, c, prefix, since, wait)
}

// requests is how many there were since it was asked last.
func (f *faulty) requests() int64 {
	return f.reads.Swap(0) + f.commits.Swap(0) + f.lists.Swap(0)
}

func failed(kind error) error { return &kv.StoreError{Op: "test", Kind: kind} }

func newLayout(t testing.TB) kv.Layout {
	t.Helper()
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func writer(t testing.TB, s kv.Store) *fleet.Writer {
	t.Helper()
	return &fleet.Writer{Store: s, Layout: newLayout(t), Node: web}
}

// stored is the receipt in the store.
func stored(t testing.TB, s kv.Store) fleet.Receipt {
	t.Helper()
	path := newLayout(t).Node(web)
	rows, err := s.Read(t.Context(), kv.Default, path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := fleet.ParseReceipt(web, rows[path].Value, rows[path].Flags)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func about() fleet.Agent {
	return fleet.Agent{Version: "2.0.0", Every: fleet.Millis(5 * time.Minute)}
}

func target(by, file string, version uint64) fleet.Target {
	return fleet.Target{By: by, Key: "hosts", File: file, Lineage: "l", Version: version, SHA256: strings.Repeat("a", 64),
		Outcome: outcome.Converged}
}

// The last writer makes one request; a writer that finds the same, one.
func TestWriterMakesOneRequest(t *testing.T) {
	s := &faulty{Store: embedded.New()}
	w := writer(t, s)
	for i := range 10 {
		if err := w.PutAgent(t.Context(), time.Now(), about(), []fleet.Target{target(fleet.ByAgent, "/a", uint64(i+1))}); err != nil {
			t.Fatal(err)
		}
		want := int64(1)
		if i == 0 {
			want = 2 // it reads first
		}
		if got := s.requests(); got != want {
			t.Errorf("receipt %d took %d requests, want %d", i, got, want)
		}
	}
	wrote, err := writer(t, s).PutOut(t.Context(), time.Now(), target(fleet.ByOut, "/b", 1))
	if got := s.requests(); err != nil || !wrote || got != 2 {
		t.Errorf("%t, %v, %d requests", wrote, err, got)
	}
	wrote, err = writer(t, s).PutOut(t.Context(), time.Now(), target(fleet.ByOut, "/b", 1))
	if got := s.requests(); err != nil || wrote || got != 1 {
		t.Errorf("the same again: %t, %v, %d requests", wrote, err, got)
	}
	if err := w.PutAgent(t.Context(), time.Now(), about(), []fleet.Target{target(fleet.ByAgent, "/a", 11)}); err != nil {
		t.Fatal(err)
	}
	if got := s.requests(); got != 3 { // tried, read, written
		t.Errorf("after another writer it took %d requests", got)
	}
	if r := stored(t, s); len(r.Targets) != 2 || r.Targets[0].Version != 11 || r.Agent == nil {
		t.Errorf("%+v", r)
	}
}

// However a write fails: the next one reads first, and nothing is lost.
func TestWriterAfterFailures(t *testing.T) {
	put := func(w *fleet.Writer, version uint64) error {
		return w.PutAgent(context.Background(), time.Now(), about(), []fleet.Target{target(fleet.ByAgent, "/a", version)})
	}
	t.Run("the outcome is unknown, and it was written", func(t *testing.T) {
		s := &faulty{Store: embedded.New()}
		w := writer(t, s)
		s.done = func([]kv.Op) error { return failed(kv.ErrUnknownOutcome) }
		if err := put(w, 1); !errors.Is(err, kv.ErrUnknownOutcome) || s.commits.Load() != 1 {
			t.Errorf("%v, %d writes", err, s.commits.Load())
		}
		s.done = nil
		s.requests()
		if err := put(w, 2); err != nil || s.reads.Load() != 1 || s.commits.Load() != 1 {
			t.Errorf("%v, %d reads, %d writes", err, s.reads.Load(), s.commits.Load())
		}
		if r := stored(t, s); r.Targets[0].Version != 2 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("it was not written", func(t *testing.T) {
		for _, kind := range []error{kv.ErrUnknownOutcome, kv.ErrUnreachable, kv.ErrDenied, kv.ErrTooLarge} {
			s := &faulty{Store: embedded.New()}
			w := writer(t, s)
			s.commit = func([]kv.Op) error { return failed(kind) }
			if err := put(w, 1); !errors.Is(err, kind) || s.commits.Load() != 1 {
				t.Errorf("%v: %v, %d writes", kind, err, s.commits.Load())
			}
			s.commit = nil
			if err := put(w, 2); err != nil || stored(t, s).Targets[0].Version != 2 {
				t.Errorf("after %v: %v", kind, err)
			}
		}
	})
	t.Run("denied", func(t *testing.T) {
		for _, write := range []bool{false, true} {
			s := embedded.New(embedded.Deny(func(_ string, w bool) bool { return w || w == write }))
			err := put(writer(t, s), 1)
			if !errors.Is(err, kv.ErrDenied) || !strings.Contains(err.Error(), "kvexpress-nodes/web-1") {
				t.Errorf("%v", err)
			}
		}
	})
	t.Run("others write without a pause", func(t *testing.T) {
		s := &faulty{Store: embedded.New()}
		path := newLayout(t).Node(web)
		n := 0
		s.commit = func([]kv.Op) error {
			n++
			_, err := s.Store.Commit(context.Background(), []kv.Op{{Verb: kv.Set, Path: path, Value: fmt.Append(nil, n)}})
			return err
		}
		err := put(writer(t, s), 1)
		if !errors.Is(err, kv.ErrConflict) || s.commits.Load() != 5 || !strings.Contains(err.Error(), "web-1") {
			t.Errorf("%v, %d writes", err, s.commits.Load())
		}
	})
	t.Run("it was forgotten, and the store made anew", func(t *testing.T) {
		s := &faulty{Store: embedded.New()}
		w := writer(t, s)
		for range 3 {
			if err := put(w, 1); err != nil {
				t.Fatal(err)
			}
		}
		forget(t, s, newLayout(t).Node(web))
		if err := put(w, 2); err != nil || stored(t, s).Targets[0].Version != 2 {
			t.Errorf("after it was forgotten: %v", err)
		}
		s.Store = embedded.New()
		if err := put(w, 3); err != nil || stored(t, s).Targets[0].Version != 3 {
			t.Errorf("in a new store: %v", err)
		}
	})
	t.Run("the stored value is no receipt", func(t *testing.T) {
		for _, value := range []string{"", "<html>", `{"format":9}`,
			`{"format":1,"node":"web-2","sent":"2026-03-01T12:00:00Z","targets":[{"file":"/x"}]}`} {
			s := embedded.New()
			if _, err := s.Commit(t.Context(),
				[]kv.Op{{Verb: kv.Set, Path: newLayout(t).Node(web), Value: []byte(value), Flags: 2}}); err != nil {
				t.Fatal(err)
			}
			if err := put(writer(t, s), 1); err != nil || len(stored(t, s).Targets) != 1 {
				t.Errorf("%q: %v", value, err)
			}
		}
	})
}

// A receipt and a roster carry the clock offset of the store.
func TestClockOffset(t *testing.T) {
	s := &faulty{Store: embedded.New(), off: -24 * time.Hour}
	if err := writer(t, s).PutAgent(t.Context(), time.Now(), about(), nil); err != nil {
		t.Fatal(err)
	}
	s.off = time.Hour
	reader := fleet.Reader{Store: s, Layout: newLayout(t)}
	r, err := reader.Roster(t.Context(), 0, 0)
	if err != nil || *r.Nodes[0].Receipt.ClockOffset != -86_400_000 || *r.ClockOffset != 3_600_000 {
		t.Errorf("%v, %+v", err, r)
	}
}

// A file name that is not UTF-8 does not make the receipt grow.
func TestOutOfAFileThatIsNoText(t *testing.T) {
	s := embedded.New()
	for i := range 5 {
		if _, err := writer(t, s).PutOut(t.Context(), time.Now(), target(fleet.ByOut, "/etc/\xff\xfe", uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	if r := stored(t, s); len(r.Targets) != 1 || r.Targets[0].Version != 4 {
		t.Errorf("%+v", r.Targets)
	}
	if wrote, err := writer(t, s).PutOut(t.Context(), time.Now(), target(fleet.ByOut, "/etc/\xff\xfe", 4)); wrote || err != nil {
		t.Errorf("the same again: %t, %v", wrote, err)
	}
}

// Targets that an agent has not reconciled since its start stay as they were.
func TestAgentThatIsStarting(t *testing.T) {
	s := embedded.New()
	placed := &fleet.Placed{Age: fleet.Millis(time.Minute)}
	a, b, c := target(fleet.ByAgent, "/a", 1), target(fleet.ByAgent, "/b", 1), target(fleet.ByAgent, "/c", 1)
	a.Placed, b.Placed = placed, placed
	if err := writer(t, s).PutAgent(t.Context(), time.Now(), about(), []fleet.Target{a, b, c}); err != nil {
		t.Fatal(err)
	}
	w := writer(t, s) // another process
	if err := w.PutAgent(t.Context(), time.Now(), about(), []fleet.Target{target(fleet.ByAgent, "/a", 1)}, "/b",
		"/new"); err != nil {
		t.Fatal(err)
	}
	r := stored(t, s)
	if len(r.Targets) != 2 || r.Targets[1].File != "/b" || r.Targets[1].Placed == nil || r.Targets[1].Placed.Age < placed.Age {
		t.Fatalf("%+v", r.Targets)
	}
	if err := w.PutAgent(t.Context(), time.Now(), about(),
		[]fleet.Target{target(fleet.ByAgent, "/a", 1), target(fleet.ByAgent, "/b", 1)}); err != nil {
		t.Fatal(err)
	}
	if r := stored(t, s); !slices.ContainsFunc(r.Targets, func(t fleet.Target) bool { return t.File == "/b" && t.Placed != nil }) {
		t.Errorf("how it came to be in place is lost: %+v", r.Targets)
	}
}

// Times refer to the moment that the writer names. A late call, a slow read and another writer in
// between make no delivery longer, because news ages until it is sent.
func TestAReadIsNoPartOfADelivery(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &faulty{Store: embedded.New()}
	s.read = func([]string) error { now = now.Add(time.Second); return nil }
	conflicts := 1
	s.commit = func([]kv.Op) error {
		if conflicts--; conflicts < 0 {
			return nil
		}
		return failed(kv.ErrConflict)
	}
	w := writer(t, s)
	w.Now = func() time.Time { return now }
	for _, tt := range []struct {
		by         string
		late, aged time.Duration
	}{
		{fleet.ByOut, 0, 2 * time.Second}, // it read twice
		{fleet.ByAgent, 0, 0},             // it knew the receipt
		{fleet.ByAgent, time.Second, time.Second},
	} {
		said, placed, at := target(tt.by, "/"+tt.by, 1), fleet.Placed{Age: fleet.Millis(5 * time.Millisecond)}, now
		said.Since, said.Placed = fleet.Millis(time.Minute), &placed
		now = now.Add(tt.late)
		var err error
		if tt.by == fleet.ByOut {
			_, err = w.PutOut(t.Context(), at, said)
		} else {
			err = w.PutAgent(t.Context(), at, about(), []fleet.Target{said})
		}
		r := stored(t, s.Store)
		i := slices.IndexFunc(r.Targets, func(t fleet.Target) bool { return t.By == tt.by })
		if err != nil || i < 0 || !r.Sent.Equal(now) || r.Targets[i].Placed.Age != placed.Age+fleet.Millis(tt.aged) ||
			r.Targets[i].Since != said.Since+fleet.Millis(tt.aged) || placed.Age != fleet.Millis(5*time.Millisecond) {
			t.Errorf("%+v: %v, %+v", tt, err, r)
		}
	}
}
