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
	// quiet is how long a group waits for more of its targets, after one owes
	// the exec; and most for how long in all.
	quiet     = 200 * time.Millisecond
	quietMost = 2 * time.Second
)

// group is targets of a node with the same exec. It runs once for all that owe it.
type group struct {
	runOwed func(context.Context, []install.Target) (*command.Result, []install.PendingResult, error)
	pace    pace
	every   time.Duration // between the starts of two runs, at least
	log     *slog.Logger
	wake    chan struct{} // holds one: there is something to look at

	mu     sync.Mutex
	owing  []*target
	latest time.Time // when the last of them came
	next   time.Time // before it the exec does not run

	output string // of the exec, as it was logged last
}

func newGroup(d *install.Installer, p pace, log *slog.Logger) *group {
	return &group{runOwed: d.RunPending, pace: p, log: log, wake: make(chan struct{}, 1)}
}

// owe notes that a target owes the exec.
func (g *group) owe(t *target) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.owing, t) {
		g.owing = append(g.owing, t)
	}
	g.latest = time.Now()
	select {
	case g.wake <- struct{}{}:
	default: // it is awake
	}
}

// owes reports whether a target has owed the exec since the group took those that did.
func (g *group) owes(t *target) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.owing, t)
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

// run runs the exec whenever it is owed, until ctx ends. What is still owed then is
// on disk: the next start finds it.
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
		g.rest(ctx, pause)
		for _, t := range all {
			g.owe(t)
		}
	}
}

// rest waits before the exec is tried again, or until something is new.
func (g *group) rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-g.wake:
	case <-timer.C:
	}
}

// gather waits until no more targets come, and takes those that came.
func (g *group) gather(ctx context.Context) []*target {
	end := time.Now().Add(quietMost)
	for {
		g.mu.Lock()
		rest := min(time.Until(g.latest.Add(quiet)), time.Until(end))
		g.mu.Unlock()
		if rest <= 0 || ctx.Err() != nil {
			break
		}
		_ = wait.For(ctx, rest) // the loop asks ctx
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.owing
	g.owing = nil
	select {
	case <-g.wake: // it was for them
	default:
	}
	// A target that is no longer in the configuration, or was made anew.
	return slices.DeleteFunc(all, func(t *target) bool { return t.ended.Load() })
}

// once runs the exec for all that owe it, and tells them. It is false if it is to
// be tried again.
func (g *group) once(ctx context.Context, all []*target) bool {
	targets := make([]install.Target, len(all))
	for i, t := range all {
		targets[i] = t.Target.Target
		targets[i].Waiting = t.waits
		defer t.waitsNoMore()
	}
	ran, results, err := g.runOwed(ctx, targets)
	if ctx.Err() != nil {
		return true // we were told to end
	}
	if ran != nil {
		g.mu.Lock()
		g.next = time.Now().Add(g.every - ran.Duration)
		g.mu.Unlock()
	}
	if err != nil {
		g.log.Warn("the exec failed", "targets", len(all), "error", oneLine(err.Error()))
		tellOutput(g.log, err, &g.output)
	} else if ran != nil {
		g.log.Info("the exec ran", "targets", len(all), "took", ran.Duration.Round(time.Millisecond))
	}
	ok := err == nil
	for i, t := range all {
		t.groupRan(ran, results[i], err)
		if results[i].Err != nil && results[i].Frozen == nil {
			ok = false // as a store that is away: a frozen one is looked at when it thaws
		}
	}
	return ok
}

func (g *group) notRun(all []*target, pause time.Duration) {
	retry := time.Now().Add(pause)
	for _, t := range all {
		t.mu.Lock()
		if t.status.Exec != nil && t.status.Exec.Pending {
			t.status.Exec.Retry = &retry
		}
		t.mu.Unlock()
	}
}

// groupRan notes what a run of the group came to for one target.
func (t *target) groupRan(ran *command.Result, r install.PendingResult, err error) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Err != nil {
		err = r.Err
	}
	if r.Frozen != nil {
		t.wake() // its pass finds out what to wait for
	}
	if !r.Ran {
		ran = nil
	}
	t.status.noteExec(ran, err, now)
	if t.group.owes(t) {
		return // a delivery came after that run, and the next one is for what it found or put in place
	}
	t.status.Exec.Pending = r.Pending
	if ran != nil && t.placed != nil {
		t.placed.steps.Exec = fleet.Millis(ran.Duration)
	}
	if t.status.Outcome != outcome.Pending && t.status.Outcome != outcome.Converged {
		return // it is about something else by now
	}
	if r.Pending {
		t.enter(outcome.Pending, err, now)
		return
	}
	t.status.Good = &now
	t.enter(outcome.Converged, nil, now)
}
