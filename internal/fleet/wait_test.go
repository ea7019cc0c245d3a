package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

// bench is a store with a key, and nodes with receipts.
type bench struct {
	t     *testing.T
	store *faulty
	want  fleet.Wanted // the last publish
}

func newBench(t *testing.T, options ...embedded.Option) *bench {
	t.Helper()
	return &bench{t: t, store: &faulty{Store: embedded.New(options...)}}
}

func (b *bench) publish(content string) {
	b.t.Helper()
	p := publish.Publisher{Store: b.store, Layout: newLayout(b.t), By: "test"}
	r, err := p.Publish(b.t.Context(), publish.Request{Key: "hosts", Content: []byte(content)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.want = fleet.Wanted{Lineage: r.Lineage, Version: r.Version, SHA256: r.SHA256}
}

// says is the receipt of a node that has a version.
func (b *bench) says(node string, v fleet.Wanted) {
	b.t.Helper()
	b.reports(node, time.Now(), fleet.Target{By: fleet.ByAgent, Key: "hosts", File: "/h", Lineage: v.Lineage, Version: v.Version,
		SHA256: v.SHA256, Outcome: outcome.Converged, Placed: &fleet.Placed{}})
}

// reports writes a receipt by a clock.
func (b *bench) reports(node string, now time.Time, targets ...fleet.Target) {
	b.t.Helper()
	w := fleet.Writer{Store: b.store.Store, Layout: newLayout(b.t), Node: node, Now: func() time.Time { return now }}
	if err := w.PutAgent(context.Background(), now, about(), targets); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) put(path, value string) {
	b.t.Helper()
	if _, err := b.store.Store.Commit(context.Background(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value)}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) reader() *fleet.Reader {
	return &fleet.Reader{Store: b.store, Layout: newLayout(b.t)}
}

// wait waits for all nodes; with each read that succeeded, step is called with its
// number.
func (b *bench) wait(ctx context.Context, limit time.Duration, step func(n int, r fleet.Report)) (fleet.Report, error) {
	n := 0
	return b.reader().Wait(ctx,
		fleet.Goal{Key: "hosts", Share: 1, Timeout: limit, Began: time.Now(), Progress: func(r fleet.Report) {
			n++
			if step != nil {
				step(n, r)
			}
		}})
}

func (b *bench) fleet(n int, v fleet.Wanted) {
	for i := range n {
		b.says(fmt.Sprint("web-", i), v)
	}
}

func TestWaitReaches(t *testing.T) {
	b := newBench(t)
	b.publish("one\n")
	b.fleet(3, b.want)
	b.publish("two\n")
	var seen []int
	r, err := b.wait(t.Context(), time.Minute, func(n int, r fleet.Report) {
		seen = append(seen, r.Converged)
		if n <= 3 {
			b.says(fmt.Sprint("web-", n-1), b.want)
		}
	})
	if err != nil || r.Converged != 3 || r.Nodes != 3 || r.Share() != 1 || len(seen) != 4 {
		t.Errorf("%v, %+v, seen %v", err, r, seen)
	}
	// A version that is in place already is reached at once.
	if r, err := b.wait(t.Context(), time.Minute, nil); err != nil || r.Converged != 3 {
		t.Errorf("%v, %+v", err, r)
	}
	b.says("web-0", fleet.Wanted{})
	goal := fleet.Goal{Key: "hosts", Share: 2.0 / 3, Timeout: time.Minute}
	if r, err := b.reader().Wait(t.Context(), goal); err != nil || r.Converged != 2 {
		t.Errorf("two of three: %v, %+v", err, r)
	}
}

func TestWaitDoesNotReach(t *testing.T) {
	t.Run("all but one", func(t *testing.T) {
		b := newBench(t)
		b.publish("one\n")
		b.says("web-9", b.want)
		b.publish("two\n")
		b.fleet(3, b.want)
		r, err := b.wait(t.Context(), 300*time.Millisecond, nil)
		var e *fleet.NotReached
		if !errors.As(err, &e) || e.Report.Converged != 3 || r.Converged != 3 || r.Nodes != 4 || !strings.Contains(err.Error(), "3 of 4") {
			t.Errorf("%v, %+v", err, r)
		}
	})
	t.Run("no nodes", func(t *testing.T) {
		b := newBench(t)
		b.publish("one\n")
		b.store.requests()
		r, err := b.wait(t.Context(), time.Second, nil)
		var e *fleet.NotReached
		if !errors.As(err, &e) || r.Nodes != 0 || !strings.Contains(err.Error(), "no node") {
			t.Errorf("%v, %+v", err, r)
		}
		if n := b.store.requests(); n > 25 { // one, and one in each 50 ms
			t.Errorf("%d requests in a second, without nodes", n)
		}
	})
	t.Run("nodes that do not count", func(t *testing.T) {
		b := newBench(t)
		b.reports("web-1", time.Now().Add(-time.Hour), fleet.Target{Key: "hosts"})
		b.publish("one\n")
		b.put("kvexpress-nodes/web-0", "<html>")
		b.reports("web-2", time.Now(), fleet.Target{Key: "other"})
		r, err := b.wait(t.Context(), 300*time.Millisecond, nil)
		if e := (*fleet.NotReached)(nil); !errors.As(err, &e) || r.Nodes != 0 || len(r.Unread) != 1 || r.Outcomes[outcome.NoContact] != 1 {
			t.Errorf("%v, %+v", err, r)
		}
	})
	t.Run("a liar", func(t *testing.T) {
		b := newBench(t)
		b.publish("one\n")
		b.fleet(2, b.want)
		b.says("web-8", fleet.Wanted{Lineage: b.want.Lineage, Version: 99, SHA256: b.want.SHA256})
		b.says("web-9", fleet.Wanted{Lineage: b.want.Lineage, Version: 1, SHA256: record.Checksum([]byte("other"))})
		r, err := b.wait(t.Context(), 300*time.Millisecond, nil)
		if e := (*fleet.NotReached)(nil); !errors.As(err, &e) || r.Converged != 2 || r.Outcomes[outcome.Invalid] != 2 || r.Nodes != 4 {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

// The wanted version is no longer the newest: nodes with the newer one count, too.
func TestWaitIsOvertaken(t *testing.T) {
	b := newBench(t)
	b.publish("one\n")
	b.fleet(3, b.want)
	b.publish("two\n")
	two := b.want
	r, err := b.wait(t.Context(), time.Minute, func(n int, _ fleet.Report) {
		switch n {
		case 1:
			b.says("web-0", two)
			b.publish("three\n")
		case 2:
			b.says("web-1", b.want)
		case 3:
			b.says("web-2", b.want)
		}
	})
	if err != nil || r.Converged != 3 || r.Version != two.Version {
		t.Errorf("%v, %+v", err, r)
	}
}

// The key is removed before all nodes have it.
func TestWaitForADeletedKey(t *testing.T) {
	b := newBench(t)
	if _, err := b.wait(t.Context(), time.Minute, nil); !missing(err) {
		t.Errorf("of a key that never was: %v", err)
	}
	b.publish("one\n")
	b.fleet(3, b.want)
	b.publish("two\n")
	r, err := b.wait(t.Context(), 500*time.Millisecond, func(n int, _ fleet.Report) {
		if n > 1 {
			return
		}
		b.says("web-0", b.want)
		for _, name := range []string{"data", "checksum", "manifest"} {
			if _, err := b.store.Store.Commit(t.Context(), []kv.Op{{Verb: kv.Delete, Path: "kvexpress/hosts/" + name}}); err != nil {
				t.Error(err)
			}
		}
	})
	if !missing(err) || r.Converged == 3 {
		t.Errorf("%v, %+v", err, r)
	}
}

func missing(err error) bool {
	var e *gate.Missing
	return errors.As(err, &e)
}

// If the store is unreachable, or does not answer, a wait continues,
// or ends with an unknown result.
func TestWaitWithoutTheStore(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return failed(kv.ErrUnreachable) }
	enough := errors.New("interrupted")
	for name, tt := range map[string]struct {
		limit   time.Duration
		list    func(b *bench, ctx context.Context, n int64) error // the n-th
		step    func(b *bench, enough context.CancelCauseFunc)     // after each read that succeeded
		want    error                                              // nil: all have it
		unknown bool
		text    string
	}{
		"unreachable and back": {time.Minute, func(_ *bench, _ context.Context, n int64) error {
			if n == 2 || n == 3 {
				return failed(kv.ErrUnreachable)
			}
			return nil
		}, func(b *bench, _ context.CancelCauseFunc) { b.fleet(3, b.want) }, nil, false, ""},
		"unreachable from the start": {300 * time.Millisecond, func(*bench, context.Context, int64) error { return failed(kv.ErrUnreachable) },
			nil, kv.ErrUnreachable, true, "unknown how many nodes are up to date: "},
		"unreachable at the end": {300 * time.Millisecond, func(_ *bench, _ context.Context, n int64) error {
			if n > 1 {
				return failed(kv.ErrUnreachable)
			}
			return nil
		}, nil, kv.ErrUnreachable, true, "it was 1 of 3"},
		// Nodes converge meanwhile: an old count is not reported as the current one.
		"hung": {time.Second, func(_ *bench, ctx context.Context, n int64) error {
			if n > 1 {
				return hang(ctx)
			}
			return nil
		}, func(b *bench, _ context.CancelCauseFunc) { b.fleet(3, b.want) }, kv.ErrUnreachable, true, "it was 1 of 3"},
		"converged in the last moment": {300 * time.Millisecond, func(b *bench, ctx context.Context, n int64) error {
			if n != 2 {
				return nil
			}
			defer b.fleet(3, b.want)
			return hang(ctx) // it does not tell
		}, nil, nil, false, ""},
		"denied on the way": {time.Minute, func(_ *bench, _ context.Context, n int64) error {
			if n > 1 {
				return failed(kv.ErrDenied)
			}
			return nil
		}, nil, kv.ErrDenied, false, ""},
		"the caller has enough": {time.Minute, nil, func(_ *bench, cancel context.CancelCauseFunc) { cancel(enough) },
			enough, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.publish("one\n")
			b.fleet(3, b.want)
			b.publish("two\n")
			b.says("web-0", b.want)
			if tt.list != nil {
				b.store.list = func(ctx context.Context) error { return tt.list(b, ctx, b.store.lists.Load()) }
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			began := time.Now()
			r, err := b.wait(ctx, tt.limit, func(int, fleet.Report) {
				if tt.step != nil {
					tt.step(b, cancel)
				}
			})
			var unknown *fleet.Unknown
			if !errors.Is(err, tt.want) || errors.As(err, &unknown) != tt.unknown || err == nil && r.Converged != 3 ||
				time.Since(began) > 10*time.Second {
				t.Fatalf("%v after %v, %+v", err, time.Since(began), r)
			}
			if err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %q", err, tt.text)
			}
		})
	}
}

// The store was made anew, with lower indexes and another lineage.
func TestWaitForAStoreMadeAnew(t *testing.T) {
	b := newBench(t)
	b.publish("one\n")
	b.fleet(3, b.want)
	b.publish("two\n")
	r, err := b.wait(t.Context(), 2*time.Second, func(n int, _ fleet.Report) {
		if n > 1 {
			return
		}
		b.store.Store = embedded.New()
		b.publish("one\n")
		b.fleet(3, b.want)
	})
	if e := (*fleet.NotReached)(nil); !errors.As(err, &e) || r.Converged != 0 || r.Nodes != 3 {
		t.Errorf("%v, %+v", err, r)
	}
}

// The last receipts come with a read that then cannot read the key. Nothing changes after
// that, so the wait drops the index, and the next read does not wait for a change.
func TestWaitAfterAReadThatFailed(t *testing.T) {
	b := newBench(t)
	b.publish("one\n")
	b.fleet(3, b.want)
	failures := 0
	b.store.read = func(paths []string) error {
		if failures > 0 || !slices.Contains(paths, newLayout(t).Checksum("hosts")) {
			return nil
		}
		failures++
		return failed(kv.ErrUnreachable)
	}
	r, err := b.wait(t.Context(), 2*time.Second, nil)
	if n := b.store.lists.Load(); err != nil || r.Converged != 3 || failures != 1 || n != 2 {
		t.Errorf("%v, %d converged, after %d failures and %d reads", err, r.Converged, failures, n)
	}
}
