package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

const (
	// debounce is how long a group waits for more of its targets, after the exec of one is pending; debounceMost limits that
	// in all.
	debounce     = 200 * time.Millisecond
	debounceMost = 2 * time.Second
)

// group is the targets of a node with the same exec. It runs once for all for which it is pending.
type group struct {
	routine
	runPending func(context.Context, []install.Target) (*command.Result, []install.PendingResult, error)
	pace       pace
	every      time.Duration // between the starts of two runs, at least
	log        *slog.Logger
	wake       chan struct{} // holds one: a target was added

	mu      sync.Mutex
	pending []*target
	latest  time.Time // when the last of them came
	next    time.Time // before it the exec does not run

	output string // of the exec, as it was logged last
}

func newGroup(i *install.Installer, every time.Duration, p pace, log *slog.Logger) *group {
	return &group{runPending: i.RunPending, every: every, pace: p, log: log, wake: make(chan struct{}, 1)}
}

// add notes that the exec is pending for a target.
func (g *group) add(t *target) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.pending, t) {
		g.pending = append(g.pending, t)
	}
	g.latest = time.Now()
	select {
	case g.wake <- struct{}{}:
	default: // it is awake
	}
}

// has reports whether a target was added since the last gather.
func (g *group) has(t *target) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.pending, t)
}

// nextRun is the time before which the exec does not run, because of every.
func (g *group) nextRun() time.Time {
	if g == nil {
		return time.Time{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.next
}

// run runs the exec whenever it is pending, until ctx ends. That it is pending then is on disk: the next start finds it.
func (g *group) run(ctx context.Context) {
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		}
		_ = wait.For(ctx, time.Until(g.nextRun())) // the loop asks ctx
		all := g.gather(ctx)
		if ctx.Err() != nil {
			return
		}
		if g.once(ctx, all) {
			failures = 0
			continue
		}
		pause := g.pace(outcome.Pending, "").After(failures)
		failures++
		g.notRun(all, pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-g.wake:
		case <-timer.C:
		}
		timer.Stop()
		for _, t := range all {
			g.add(t)
		}
	}
}

// gather waits until no more targets come, and takes those that came.
func (g *group) gather(ctx context.Context) []*target {
	end := time.Now().Add(debounceMost)
	for {
		g.mu.Lock()
		rest := min(time.Until(g.latest.Add(debounce)), time.Until(end))
		g.mu.Unlock()
		if rest <= 0 || ctx.Err() != nil {
			break
		}
		_ = wait.For(ctx, rest) // the loop asks ctx
	}
	g.mu.Lock()
	all := g.pending
	g.pending = nil
	select {
	case <-g.wake: // it was for them
	default:
	}
	g.mu.Unlock() // a target that is asked below may hold its own lock, and wait for this one
	// One may have left the configuration, or was replaced; and the first failure of a candidate is final.
	return slices.DeleteFunc(all, func(t *target) bool { return !t.retries() })
}

// once runs the exec for targets for which it is pending, and notes the result with each. If false, retry the exec.
func (g *group) once(ctx context.Context, all []*target) bool {
	targets := make([]install.Target, len(all))
	for i, t := range all {
		targets[i] = t.Target.Target
		targets[i].Waiting = t.waits
		defer t.waitsNoMore()
	}
	ran, results, err := g.runPending(ctx, targets)
	if ctx.Err() != nil {
		return true // the agent ends
	}
	if ran != nil {
		g.mu.Lock()
		g.next = time.Now().Add(g.every - ran.Duration)
		g.mu.Unlock()
	}
	if err != nil {
		g.log.Warn("the exec failed", "targets", len(all), "error", oneLine(err.Error()))
		logOutput(g.log, err, &g.output)
	} else if ran != nil {
		g.log.Info("the exec ran", "targets", len(all), "took", ran.Duration.Round(time.Millisecond))
	}
	ok := err == nil
	for i, t := range all {
		t.groupRan(ctx, ran, results[i], err)
		if results[i].Err != nil && results[i].Frozen == nil {
			ok = false // as if the store is unreachable; a frozen target reconciles when it thaws
		}
	}
	return ok
}

func (g *group) notRun(all []*target, pause time.Duration) {
	retry := time.Now().Add(pause)
	for _, t := range all {
		t.mu.Lock()
		if t.status.Exec != nil && t.status.Exec.Pending && !t.candidate.gaveUp() {
			t.status.Exec.Retry = &retry
		}
		t.mu.Unlock()
	}
}

// groupRan notes the result of a run of the group for one target.
func (t *target) groupRan(ctx context.Context, ran *command.Result, r install.PendingResult, err error) {
	if r.Ran && err != nil {
		if id := t.on(); id != "" && t.mayTry(id) {
			t.remember(ctx, id, "exec", err)
		}
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Err != nil {
		err = r.Err
	}
	if r.Frozen != nil {
		t.wake() // its reconcile finds out what to wait for
	}
	if !r.Ran {
		ran = nil
	}
	t.status.noteExec(ran, err, now)
	t.groupTried(ran, err)
	if t.group.has(t) {
		return // a reconcile came after that run: the next one is for the bytes in place
	}
	t.status.Exec.Pending = r.Pending
	if p := t.status.placed; ran != nil && p != nil {
		p.steps.Exec = fleet.Millis(ran.Duration)
	}
	if t.status.Outcome != outcome.Pending && t.status.Outcome != outcome.Converged {
		return // another outcome came meanwhile
	}
	if r.Pending {
		t.enter(outcome.Pending, err, now)
		return
	}
	t.status.Good = &now
	t.enter(outcome.Converged, nil, now)
}
