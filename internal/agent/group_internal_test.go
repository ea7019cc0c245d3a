package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// While the exec of a group ran, a delivery waited for the file. It puts the next version in place before the group notes
// the result of its run. That run was for the version before, so the exec is still pending. If the group did not check for
// targets that were added meanwhile, its receipt would say converged before the exec ran for the new bytes.
func TestGroupRanForTheVersionBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		g := newGroup(nil, 0, patience, log)
		r := testTarget(nowhere{}, install.Target{Exec: []string{"exec"}})
		r.group = g
		installed := func(version uint64, sha256 string) {
			r.record(t.Context(), install.Result{Action: install.Installed, ExecPending: true, Version: version, SHA256: sha256}, nil, time.Now())
		}
		ran := func() { r.groupRan(t.Context(), &command.Result{}, install.PendingResult{Ran: true}, nil) }
		taken := func() {
			t.Helper()
			if all := g.gather(t.Context()); len(all) != 1 || all[0] != r {
				t.Fatalf("the group takes %v", all)
			}
		}
		wants := func(state outcome.Outcome, pending bool, ok uint64) {
			t.Helper()
			s := r.snapshot()
			said := s.receipt(time.Now())
			if s.Outcome != state || s.Exec.Pending != pending || s.Counts.ExecOK != ok || said.Outcome != state ||
				said.ExecPending != pending {
				t.Errorf("it is %s, pending %v, after %d runs; its receipt says %s, pending %v", s.Outcome, s.Exec.Pending, s.Counts.ExecOK,
					said.Outcome, said.ExecPending)
			}
		}
		installed(1, "one")
		taken()
		installed(2, "two")
		ran()
		wants(outcome.Pending, true, 1)
		taken()
		ran()
		wants(outcome.Converged, false, 2)
	})
}

// A status of the agent asks a target, and then its group. The group asks its targets without its own lock: else both would wait
// for ever.
func TestGroupAsksWithoutItsLock(t *testing.T) {
	t.Parallel()
	g := newGroup(nil, 0, patience, slog.New(slog.DiscardHandler))
	r := testTarget(nowhere{}, install.Target{Exec: []string{"exec"}})
	g.add(r)
	r.mu.Lock() // as snapshot does
	gathered := make(chan struct{})
	go func() { g.gather(context.Background()); close(gathered) }()
	for g.has(r) {
		runtime.Gosched()
	}
	g.nextRun()
	r.mu.Unlock()
	<-gathered
}

// Targets that become pending within the debounce share a run. A steady stream of them does not put it off for long.
func TestGroupRunsOnceForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(nil, 0, patience, slog.New(slog.DiscardHandler))
		began := time.Now()
		runs := make(chan string, 10)
		g.runPending = func(_ context.Context, all []install.Target) (*command.Result, []install.PendingResult, error) {
			runs <- fmt.Sprint(len(all), " after ", time.Since(began))
			return &command.Result{}, make([]install.PendingResult, len(all)), nil
		}
		wants := func(want string) {
			t.Helper()
			if got := <-runs; got != want {
				t.Errorf("it ran for %s, want %s", got, want)
			}
		}
		pending := func(after time.Duration) {
			pass(time.Until(began.Add(after)))
			r := testTarget(nowhere{}, install.Target{Exec: []string{"exec"}})
			r.group = g
			r.record(t.Context(), install.Result{Action: install.Installed, ExecPending: true}, nil, time.Now())
		}
		ctx, cancel := context.WithCancel(t.Context())
		go g.run(ctx)
		for i := range 3 {
			pending(time.Duration(i) * (debounce - time.Millisecond))
		}
		wants("3 after 598ms")
		for i := range 100 {
			pending(10*time.Second + time.Duration(i)*debounce*3/4)
		}
		wants("14 after 12s")
		cancel()
	})
}

// Many changes cost one run in exec_every, the first comes at once, and the last is never lost.
func TestExecEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		g := newGroup(nil, 30*time.Second, patience, log)
		began := time.Now()
		var ran []int // seconds since began
		since := func(at time.Time) int { return int(at.Sub(began).Seconds()) }
		failing := false
		var mu sync.Mutex // of both
		g.runPending = func(_ context.Context, targets []install.Target) (*command.Result, []install.PendingResult, error) {
			mu.Lock()
			ran = append(ran, since(time.Now()))
			failing := failing
			mu.Unlock()
			time.Sleep(2 * time.Second) //nolint:forbidigo // the time of this test is its own
			result := &command.Result{Duration: 2 * time.Second}
			if failing {
				return result, []install.PendingResult{{Ran: true, Pending: true}}, errors.New("no")
			}
			return result, []install.PendingResult{{Ran: true}}, nil
		}
		r := testTarget(nowhere{}, install.Target{Exec: []string{"exec"}})
		r.group = g
		changed := func() {
			r.record(t.Context(), install.Result{Action: install.Installed, ExecPending: true}, nil, time.Now())
		}
		at := func(second int) {
			time.Sleep(time.Until(began.Add(time.Duration(second) * time.Second))) //nolint:forbidigo // the same
			synctest.Wait()
		}
		wants := func(pending bool, retry int, seconds ...int) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			s := r.snapshot()
			next := 0
			if s.Exec.Retry != nil {
				next = since(*s.Exec.Retry)
			}
			if s.Exec.Pending != pending || next != retry || s.ExecWaits() != (retry > 0 && !failing) || !slices.Equal(ran, seconds) {
				t.Errorf("after %s it ran at %v, pending %v, and runs at %ds", time.Since(began), ran, s.Exec.Pending, next)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go g.run(ctx)
		changed()
		at(1)
		changed() // while it runs
		at(3)
		wants(true, 30, 0)
		for second := range 25 {
			at(3 + second)
			changed()
		}
		at(29)
		wants(true, 30, 0)
		at(33)
		wants(false, 0, 0, 30)
		at(100) // nothing changes: nothing runs
		fail := func(yes bool) {
			mu.Lock()
			defer mu.Unlock()
			failing = yes
		}
		fail(true)
		changed()
		at(103)
		wants(true, 130, 0, 30, 100)
		changed()
		at(129)
		wants(true, 130, 0, 30, 100)
		fail(false)
		at(133)
		wants(false, 0, 0, 30, 100, 130)
		cancel()
	})
}
