package agent

import (
	"cmp"
	"context"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// healthEvery is how often a node repeats its report on a candidate.
const healthEvery = time.Second

// offering is what a hub says of the rollout of a key. The source's mu guards it.
type offering struct {
	id      string        // of the rollout whose candidate this node gets; "": the current version
	sha256  string        // of the version that this node gets
	last    string        // of the last rollout whose candidate this node had; "": the hub waits for no way back
	changed chan struct{} // closed, and replaced, when id changes
	ask     wire.Ask      // the last question

	said   wire.Health // the last report
	saidAt time.Time
	saidTo *session
}

// set notes the offer of a snapshot, whose version has this checksum.
func (o *offering) set(row kv.Entry, sha256 string) (changed bool) {
	id := ""
	if offer := rollout.ParseOffer(row); offer != nil {
		id = offer.ID
	}
	if changed = id != o.id; changed {
		close(o.changed)
		o.id, o.last, o.changed, o.saidAt = id, cmp.Or(id, o.last), make(chan struct{}), time.Now()
		if id == "" && sha256 == o.sha256 { // promoted: the node does not go back
			o.last = ""
		}
	}
	o.sha256 = sha256
	return changed
}

// offered implements source.
func (h *hubSource) offered(k kv.Key) (id string, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.keys[k]
	if h.onStore || held == nil || held.rows == nil {
		return "", false
	}
	return held.offer.id, true
}

// withdrawn implements source.
func (h *hubSource) withdrawn(k kv.Key, id string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if held := h.keys[k]; held != nil && held.offer.id == id {
		return held.offer.changed
	}
	over := make(chan struct{})
	close(over)
	return over
}

// asked takes a question of the connected hub; mu is held.
func (h *hubSource) asked(s *session, m *wire.Ask) {
	if held := h.keys[kv.Key(m.Key)]; held != nil && h.session == s {
		held.offer.ask = *m
		h.stir()
	}
}

// stir wakes reportHealth.
func (h *hubSource) stir() {
	select {
	case h.stirred <- struct{}{}:
	default: // it is awake
	}
}

// reportHealth runs the probes of candidates, and reports on them to the hub, until ctx ends.
func (h *hubSource) reportHealth(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-h.stirred:
		case <-timer.C:
		}
		if next := h.healths(ctx, time.Now()); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// healths starts the probes and sends the reports that are due. It returns when the next one is due; zero: never.
func (h *hubSource) healths(ctx context.Context, now time.Time) (next time.Time) {
	h.mu.Lock()
	s, targets := h.session, h.targets
	rolling := map[kv.Key]offering{}
	for k, held := range h.keys {
		if held.offer.last != "" && s != nil {
			rolling[k] = held.offer
		}
	}
	h.mu.Unlock()
	for k, o := range rolling {
		report := wire.Health{Key: string(k), Rollout: o.last}
		if o.ask.Rollout == o.last {
			report.Ask = o.ask.ID
		}
		for _, t := range targets {
			if t.Key == k {
				next = earlier(next, t.reportOn(ctx, now, &report, o))
			}
		}
		again := o.saidAt.Add(healthEvery)
		news, due := report != o.said || s != o.saidTo, !now.Before(again)
		installing := report.State == string(rollout.Installing)
		if installing && (o.id == "" || o.said.Rollout != report.Rollout) {
			news = news && due // most are healthy, or back, before it is
		}
		if news || o.id != "" && due {
			h.say(ctx, s, k, report, now)
			again = now.Add(healthEvery)
		}
		if o.id != "" || installing && again.After(now) {
			next = earlier(next, again)
		}
	}
	return next
}

// say sends a report.
func (h *hubSource) say(ctx context.Context, s *session, k kv.Key, report wire.Health, now time.Time) {
	sent := report
	h.mu.Lock()
	if !h.output {
		sent.Output = ""
	}
	h.mu.Unlock()
	if s.send(ctx, wire.FromAgent{Health: &sent}) != nil {
		return // the next connection gets it
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.keys[k]
	if held == nil {
		return
	}
	o := &held.offer
	o.said, o.saidAt, o.saidTo = report, now, s
	if report.State == string(rollout.Back) && o.id == "" {
		o.last = ""
	}
}

// earlier is the earlier of two times. Zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// reportOn adds the target to the report of its key, and starts its probe if that is due. It returns when it is due next.
func (t *target) reportOn(ctx context.Context, now time.Time, r *wire.Health, o offering) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	offered := o.id != ""
	if offered && t.candidate.rollout == o.id {
		next = t.probeAt(ctx, now, o.ask.ID, o.changed)
	}
	state := t.health(r.Rollout, offered)
	if state == rollout.Healthy && len(t.Probe) > 0 {
		r.Ask = min(r.Ask, t.candidate.probe.ask)
	}
	if worse(state, rollout.HealthState(r.State)) {
		if r.State = string(state); state == rollout.Failed {
			f := t.candidate.failed
			r.Reason, r.Detail, r.Output = f.reason, f.detail, fleet.NewOutput(r.Key, t.File, f.output).Text
		}
	}
	return next
}

// worse compares the states of two targets of a key. The report has the worst.
func worse(a, b rollout.HealthState) bool {
	rank := map[rollout.HealthState]int{
		"": 0, rollout.Back: 1, rollout.Healthy: 2, rollout.Installing: 3, rollout.Frozen: 4, rollout.Failed: 5,
	}
	return rank[a] > rank[b]
}
