package difftest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// watch is a blocked query on both servers.
type watch struct {
	step     Step
	at       int
	ask      [2]Step // the same question, without waiting
	start    [2]answer
	seen     []answer    // of the subject to the same question, since the start
	ref, sub chan answer // each gets one
}

// watch starts a blocked query with the index that its target has now. A late
// start does no harm: what changed until then answers it.
func (r *run) watch(ctx context.Context, at int, s Step) error {
	w := &watch{step: s, at: at, ref: make(chan answer, 1), sub: make(chan answer, 1)}
	plain := s
	plain.Method = http.MethodGet
	ref, sub, err := r.expand(ctx, at, plain)
	if err != nil {
		return err
	}
	w.ask = [2]Step{ref, sub}
	w.start[0], w.start[1] = r.both(ctx, ref, sub)
	if err := r.compared(ctx, at, s, w.start[0], w.start[1]); err != nil {
		return err
	}
	w.seen = []answer{w.start[1]}
	if w.start[0].index() == 0 {
		return nil // an error: nothing to wait for
	}
	const waits = 10 * time.Minute // longer than any sequence
	for i, to := range []struct {
		server string
		got    chan answer
	}{{r.ref, w.ref}, {r.sub, w.sub}} {
		blocked := w.ask[i]
		sep := "?"
		if strings.Contains(blocked.Target, "?") {
			sep = "&"
		}
		blocked.Target += sep + "wait=10m&index=" + strconv.FormatUint(w.start[i].index(), 10)
		r.watching.Go(func() { to.got <- r.send(ctx, to.server, blocked, waits) })
	}
	r.watches = append(r.watches, w)
	return nil
}

// wakes compares the answers of those blocked queries that must come after the
// step that just ran.
func (r *run) wakes(ctx context.Context, at int) error {
	var still []*watch
	for _, w := range r.watches {
		now := [2]answer{}
		now[0], now[1] = r.both(ctx, w.ask[0], w.ask[1])
		if err := r.compared(ctx, at, w.step, now[0], now[1]); err != nil {
			return err
		}
		w.seen = append(w.seen, now[1])
		if !w.mustWake(now[0]) {
			still = append(still, w)
			continue
		}
		sub, ref := awaited(w.sub, r.Patience), now[0]
		if w.mayWakeEarly() {
			wasTrue := func(a answer) bool { return a.status == sub.status && bytes.Equal(a.body, sub.body) }
			if slices.ContainsFunc(w.seen, wasTrue) {
				continue
			}
		} else {
			ref = awaited(w.ref, r.Patience)
		}
		if err := r.compared(ctx, at, w.step, ref, sub); err != nil {
			return err
		}
	}
	r.watches = still
	return nil
}

// awaited is the answer of a blocked query that must come.
func awaited(got <-chan answer, patience time.Duration) answer {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case a := <-got:
		return a
	case <-limit.C:
		return answer{err: fmt.Errorf("was not woken within %s", patience)}
	}
}

// mustWake reports whether Consul answers the query, given what it says now
// without waiting: its index must have grown. The index of a list falls when a
// tree is deleted from above it, which leaves no tombstone within: then Consul
// lets it sleep, though what it asks for has changed.
func (w *watch) mustWake(now answer) bool {
	was := w.start[0]
	if now.index() <= was.index() {
		return false
	}
	return now.status != was.status || !bytes.Equal(now.body, was.body) || !w.mayWakeEarly()
}

// mayWakeEarly reports whether a server may answer though nothing has changed:
// the index of an empty list is the whole table's, and a deletion elsewhere may
// count for the index of a list.
func (w *watch) mayWakeEarly() bool { return w.start[0].empty() || w.start[0].isList() }

// empty reports whether the answer has no rows.
func (a answer) empty() bool {
	return a.status == http.StatusNotFound || string(bytes.TrimSpace(a.body)) == "[]"
}
