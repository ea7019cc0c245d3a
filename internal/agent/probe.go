package agent

import (
	"context"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/install"
	"kvexpress/internal/wait"
)

const (
	// probeEvery is how often the probe of a healthy candidate runs.
	probeEvery = time.Second
	// maxProbes limits the probes of a node that run at a time.
	maxProbes = 8
)

// probe is how the probe of a candidate goes, since its exec ended. The target's mu guards it.
type probe struct {
	began     time.Time // when the candidate was ready; zero: it is not
	next      time.Time // when it runs again
	running   bool
	failures  int // in a row, before the first success
	succeeded bool
	ask       uint64 // the last question of a hub that was known when the last success began
}

// probeAt starts the probe if it is due, and returns when it is due next; zero: never, or it runs. withdrawn ends it. mu is held.
func (t *target) probeAt(ctx context.Context, now time.Time, ask uint64, withdrawn <-chan struct{}) time.Time {
	c, p := &t.candidate, t.candidate.probe
	if len(t.Probe) == 0 || c.failed != nil || !c.ready(&t.status) || p.running {
		return time.Time{}
	}
	if p.began.IsZero() {
		p.began = now
	}
	if p.next.After(now) && (!p.succeeded || ask <= p.ask) {
		return p.next
	}
	limit := t.ProbeTimeout
	if !p.succeeded {
		limit = max(p.began.Add(limit).Sub(now), minProbe)
	}
	p.running = true
	env := install.Env(string(t.Key), t.File, t.status.SHA256, t.status.Version)
	go t.runProbe(ctx, p, command.Command{Argv: t.Probe, Timeout: limit, Env: env}, ask, withdrawn)
	return time.Time{}
}

// minProbe is the least time that a run of a probe has.
const minProbe = 100 * time.Millisecond

// runProbe runs the probe once, and notes its result.
func (t *target) runProbe(ctx context.Context, p *probe, c command.Command, ask uint64, withdrawn <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-withdrawn:
			cancel()
		case <-ctx.Done():
		}
	}()
	select {
	case t.probes <- struct{}{}:
		defer func() { <-t.probes }()
	case <-ctx.Done():
	}
	result, err := command.Run(ctx, c)
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.stir()
	over := func() bool { return ctx.Err() != nil || t.candidate.probe != p }
	final := err != nil && (p.succeeded || !now.Before(p.began.Add(t.ProbeTimeout)))
	if id := t.candidate.rollout; final && !over() {
		t.mu.Unlock()
		t.remember(ctx, id, "probe", err)
		t.mu.Lock()
	}
	p.running = false
	switch {
	case over(): // withdrawn, or installed again meanwhile
	case err == nil:
		p.succeeded, p.ask, p.next = true, ask, now.Add(probeEvery)
	case final:
		t.candidate.failed = &failure{reason: "probe", detail: brief(err), output: result.Output}
		t.log.Warn("the probe of a candidate failed", "rollout", t.candidate.rollout, "error", oneLine(err.Error()))
	default:
		p.next = now.Add(wait.Backoff{Least: 100 * time.Millisecond, Most: probeEvery}.After(p.failures))
		p.failures++
	}
}
