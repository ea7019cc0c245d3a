package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

const crowd = 50

// TestFiftyPublishersAtOnce lets fifty publishers race in any order. A publisher
// that lost ten times runs again, as its user would do.
func TestFiftyPublishersAtOnce(t *testing.T) {
	for name, size := range map[string]int{"small": 1, "history apart": kv.MaxStored - 10} {
		t.Run(name, func(t *testing.T) {
			s := &everyFlip{Store: newStore()}
			var wg sync.WaitGroup
			for i := range crowd {
				wg.Go(func() {
					p := publisher(t, s)
					p.Wait = nil // the timer: it is what ends the race
					content := append(noise(size, uint64(i)), byte(i))
					for {
						res, err := p.Publish(t.Context(), Request{Key: hosts, Content: content})
						if err == nil && (res.Action != Published || res.Version == 0) {
							t.Errorf("publisher %d: %+v", i, res)
						}
						if !errors.Is(err, kv.ErrConflict) {
							if err != nil {
								t.Errorf("publisher %d: %v", i, err)
							}
							return
						}
					}
				})
			}
			wg.Wait()
			s.check(t, crowd)
		})
	}
}

// everyFlip keeps the manifest of every commit that made a version live.
type everyFlip struct {
	kv.Store
	mu   sync.Mutex
	live []kv.Manifest
}

func (s *everyFlip) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written, err := s.Store.Commit(ctx, ops)
	for _, op := range ops {
		if err == nil && op.Verb == kv.CheckAndSet && op.Path == "kvexpress/hosts/manifest" {
			m, merr := kv.ParseManifest(op.Value)
			if merr != nil {
				return nil, merr
			}
			s.live = append(s.live, m)
		}
	}
	return written, err
}

// check wants versions 1 to n in order, of one lineage, each of its own.
func (s *everyFlip) check(t *testing.T, n int) {
	t.Helper()
	l := layout(t, "kvexpress")
	ids, sums := map[string]bool{}, map[string]bool{}
	for i, m := range s.live {
		if m.Version != uint64(i+1) || m.Lineage != s.live[0].Lineage {
			t.Fatalf("version %d of %s came as number %d", m.Version, m.Lineage, i+1)
		}
		ids[m.PublishID], sums[m.SHA256] = true, true
	}
	if len(s.live) != n || len(ids) != n || len(sums) != n {
		t.Fatalf("%d versions, %d publish ids, %d contents, want %d of each", len(s.live), len(ids), len(sums), n)
	}
	for v, m := range pastVersions(t, s.Store, l, hosts) {
		if m.PublishID != s.live[v-1].PublishID {
			t.Errorf("history %d differs from the version that was live as %d", v, v)
		}
	}
}

func TestLostTenTimes(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	promotes := 0
	p.Fault = func(st Point) error {
		if st == AtPromote {
			promotes++
			do(t, rival, fmt.Sprintf("%d\n", promotes))
		}
		return nil
	}
	_, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("mine\n")})
	var c *Conflict
	if !errors.As(err, &c) || c.Attempts != 10 || promotes != 10 {
		t.Errorf("got %v after %d promotes", err, promotes)
	}
}

func TestLoserGatesAgain(t *testing.T) {
	l := layout(t, "kvexpress")
	onTopOfDamage := func(t *testing.T, res Result, err error) {
		if err != nil || res.Action != Published || res.Version != 2 || res.Attempts != 2 || !hasNote(res, "damaged") {
			t.Errorf("got %+v, %v", res, err)
		}
	}
	tests := map[string]struct {
		between func(t *testing.T, s kv.Store)
		check   func(t *testing.T, res Result, err error)
	}{
		"stop": {func(t *testing.T, s kv.Store) { put(t, s, l.Stop(hosts), "hold", 0) },
			func(t *testing.T, _ Result, err error) {
				var stopped *gate.Stopped
				if !errors.As(err, &stopped) || stopped.Reason != "hold" {
					t.Errorf("got %v, want stopped", err)
				}
			}},
		"the same bytes": {func(t *testing.T, s kv.Store) { do(t, publisher(t, s), "mine\n") },
			func(t *testing.T, res Result, err error) {
				if err != nil || res.Action != Unchanged || res.Version != 2 || res.Attempts != 2 {
					t.Errorf("got %+v, %v", res, err)
				}
			}},
		"1.x": {func(t *testing.T, s kv.Store) { oldWrite(t, s, l, hosts, "old tool\n") },
			func(t *testing.T, res Result, err error) {
				if err != nil || res.Action != Published || res.Version != 3 || string(res.Old) != "old tool\n" {
					t.Errorf("got %+v, %v", res, err)
				}
			}},
		"1.x, its first write": {func(t *testing.T, s kv.Store) { put(t, s, l.Data(hosts), "old tool\n", 0) }, onTopOfDamage},
		"1.x, its second write": {func(t *testing.T, s kv.Store) {
			put(t, s, l.Checksum(hosts), record.Checksum([]byte("old tool\n")), 0)
		}, onTopOfDamage},
		"deleted": {func(t *testing.T, s kv.Store) { remove(t, s, l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts)) },
			func(t *testing.T, res Result, err error) {
				if err != nil || res.Action != Published || res.Version != 2 || res.Old != nil {
					t.Errorf("got %+v, %v", res, err)
				}
			}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			do(t, publisher(t, s), "first\n")
			p := publisher(t, s)
			before(p, AtPromote, func() { tt.between(t, s) })
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("mine\n")})
			tt.check(t, res, err)
		})
	}
}

// without drops operations: the guard that a negative control takes out.
func without(drop func(kv.Op) bool) func(int, []kv.Op) ([]kv.Op, error) {
	return func(_ int, ops []kv.Op) ([]kv.Op, error) {
		return slices.DeleteFunc(slices.Clone(ops), drop), nil
	}
}

func TestControlStopNeedsItsCheck(t *testing.T) {
	l := layout(t, "kvexpress")
	s := &probe{Store: newStore(),
		before: without(func(op kv.Op) bool { return op.Path == l.Stop(hosts) && op.Verb == kv.CheckAbsent })}
	p := publisher(t, s)
	before(p, AtPromote, func() { put(t, s.Store, l.Stop(hosts), "hold", 0) })
	if res := do(t, p, "a\n"); res.Version != 1 {
		t.Errorf("got %+v: TestLoserGatesAgain/stop would prove nothing", res)
	}
}

// The loser of a race is compared with the version that won.
func TestLoserIsComparedAgain(t *testing.T) {
	p := publisher(t, newStore())
	do(t, p, "1\n2\n")
	before(p, AtPromote, func() { do(t, publisher(t, p.Store), "1\n2\n3\n4\n5\n") })
	req := Request{Key: hosts, Content: []byte("1\n2\n3\n")}
	if err := req.Limits.Shrink.Set("20%"); err != nil {
		t.Fatal(err)
	}
	res, err := p.Publish(t.Context(), req)
	var r *gate.Refusal
	if !errors.As(err, &r) || r.Reason != gate.Changed || r.Change.Before != 5 || res.Attempts != 2 {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestWriterOf1xBetweenItsTwoWrites finds data without its checksum, and waits.
func TestWriterOf1xBetweenItsTwoWrites(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	l := p.Layout
	do(t, p, "first\n")
	put(t, s, l.Data(hosts), "old tool\n", 0)
	var waits []time.Duration
	p.Wait = func(_ context.Context, d time.Duration) error {
		if waits = append(waits, d); len(waits) == 2 {
			put(t, s, l.Checksum(hosts), record.Checksum([]byte("old tool\n")), 0)
		}
		return nil
	}
	res := do(t, p, "mine\n")
	if string(res.Old) != "old tool\n" || res.Version != 3 || res.Attempts != 1 {
		t.Errorf("got %+v", res)
	}
	if want := []time.Duration{50 * time.Millisecond, 150 * time.Millisecond}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}

	put(t, s, l.Data(hosts), "torn for good\n", 0)
	waits = make([]time.Duration, 3) // so that no publisher repairs it
	res = do(t, p, "next\n")
	if res.Old != nil || !hasNote(res, "damaged") || len(waits) != 6 {
		t.Errorf("got %+v after waits %v", res, waits)
	}
	mustBeLive(t, s, l, hosts, res, []byte("next\n"))
}
