package difftest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
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
		if !w.mustWake(now[0]) {
			still = append(still, w)
			continue
		}
		sub := awaited(w.sub, r.Patience)
		ref := now[0]
		if w.mayWakeEarly() {
			if sub.status == w.start[1].status && bytes.Equal(sub.body, w.start[1].body) {
				continue // woken before, which Consul may do as well
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
// lets it sleep, though what it asks for has changed. The index
// of an empty list is the whole table's, and proves nothing.
func (w *watch) mustWake(now answer) bool {
	was := w.start[0]
	if now.index() <= was.index() {
		return false
	}
	changed := now.status != was.status || !bytes.Equal(now.body, was.body)
	return changed || !was.empty() && !w.mayWakeEarly()
}

// mayWakeEarly reports whether Consul may answer though nothing has changed:
// the index of an empty list is the whole table's.
func (w *watch) mayWakeEarly() bool { return w.start[0].empty() }

// empty reports whether the answer has no rows.
func (a answer) empty() bool {
	return a.status == http.StatusNotFound || string(bytes.TrimSpace(a.body)) == "[]"
}
