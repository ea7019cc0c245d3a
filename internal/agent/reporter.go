package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

const (
	// receiptEvery is the least time between two receipts.
	receiptEvery = time.Second
	// receiptLimit is how long one may take.
	receiptLimit = 10 * time.Second
	// receiptSpread is the time in which a fleet reports a change: not in its first third, while other nodes wait for
	// their install, and not all at once.
	receiptSpread = 3 * time.Second
)

// reporter writes the node's receipts. No install waits for it: it reads the status of the targets. A lost receipt is made
// good by the next one.
type reporter struct {
	agent  *Agent
	writer *fleet.Writer
	source *storeSource // of the writer
	hub    *session     // that the last receipt went to; nil: the store
	why    string       // why that hub did not take receipts; "" if it did

	sent      fleet.Part // as written last
	outage    time.Time  // the end of the one that was reported last
	attempted time.Time
	heartbeat time.Time // when to write although there is no news
	due       time.Time // when to write the news; zero: there is none
	failures  int       // in a row
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) {
	node, every := r.agent.promise()
	r.heartbeat = time.Now().Add(time.Duration(share(node) * float64(every)))
	for {
		node, every := r.agent.promise()
		if latest := time.Now().Add(every); r.heartbeat.After(latest) {
			r.heartbeat = latest // a reload made the interval longer
		}
		next := r.heartbeat
		if !r.due.IsZero() && r.due.Before(next) {
			next = r.due
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.agent.news:
			if soon := r.soon(node, time.Now()); r.due.IsZero() || soon.Before(r.due) {
				r.due = soon
			}
		case <-timer.C:
			r.report(ctx, every)
		}
		timer.Stop()
	}
}

// soon is when news is written: spread, and one receipt a second at most. The receipts of one slot, by the clock, are written
// at one moment: Consul takes what comes together in one step of Raft, for half of its CPU.
func (r *reporter) soon(node string, now time.Time) time.Time {
	if hub, _ := r.agent.reportsTo(); hub != nil {
		return later(later(now, r.attempted.Add(gather)), r.agent.settled())
	}
	spread := cmp.Or(r.agent.options.ReceiptSpread, receiptSpread)
	due := now.Add(spread/3 + time.Duration(share(node)*float64(spread)*2/3))
	if earliest := r.attempted.Add(receiptEvery); due.Before(earliest) {
		due = earliest
	}
	slot := spread / 12
	return due.Add(slot - due.Sub(due.Truncate(slot))) // keeps the monotonic reading
}

func (r *reporter) report(ctx context.Context, every time.Duration) {
	now := time.Now()
	beat := !r.heartbeat.After(now)
	r.due = time.Time{}
	if beat {
		r.heartbeat = now.Add(every)
	}
	source := r.prepare()
	if source == nil {
		return
	}
	hub, waiting := r.agent.reportsTo()
	if waiting {
		return // the next hub, or the store, gets it
	}
	outage, why := source.lastOutage(), hub.declines()
	part := r.agent.receipts()
	news := !slices.EqualFunc(part.Targets, r.sent.Targets, fleet.Same) || !outage.ended.Equal(r.outage) || hub != r.hub ||
		why != r.why || hub != nil && !slices.Equal(part.Outputs, r.sent.Outputs)
	if !news && !beat {
		return
	}
	part.Host, part.Agent = r.agent.options.Host, fleet.Agent{Version: r.agent.options.Version, Every: fleet.Millis(every)}
	if !outage.ended.IsZero() {
		part.Agent.Outage = &fleet.Outage{Lasted: fleet.Millis(outage.lasted), Ended: fleet.Millis(part.Clock.Sub(outage.ended))}
	}
	r.attempted = now
	limited, cancel := context.WithTimeout(ctx, receiptLimit)
	var err error
	if hub != nil {
		err = hub.report(limited, part)
	} else {
		err = r.writer.PutAgent(limited, part.Clock, part.Agent, part.Targets, part.Starting...)
	}
	cancel()
	r.hub, r.why = hub, why
	r.note(ctx, err)
	if err == nil {
		r.sent, r.outage, r.failures = part, outage.ended, 0
		return
	}
	r.due = now.Add(wait.Backoff{Least: 3 * time.Second, Most: 15 * time.Second}.After(2 * r.failures))
	r.failures++
	if errors.Is(err, kv.ErrDenied) {
		r.due = time.Time{} // with the heartbeat, or when there is news
	}
}

// prepare follows the configuration. It returns the source, or nil if receipts are off.
func (r *reporter) prepare() *storeSource {
	a := r.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.config.Receipts {
		r.writer, r.sent, a.receipt = nil, fleet.Part{}, ReceiptStatus{}
		return nil
	}
	if r.writer == nil || r.source != a.source || r.writer.Node != a.config.Node || r.writer.Layout != a.config.Layout {
		r.source, r.sent = a.source, fleet.Part{}
		r.writer = &fleet.Writer{Store: aside{a.source}, Layout: a.config.Layout, Node: a.config.Node, Host: a.options.Host}
	}
	return r.source
}

// note keeps the result of a receipt, and logs a failure once for each reason. The breaker logs an unreachable store.
func (r *reporter) note(ctx context.Context, err error) {
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	now, before := time.Now(), r.agent.receipt.Error
	if err == nil {
		r.agent.receipt = ReceiptStatus{Last: &now}
		return
	}
	text := oneLine(err.Error())
	if len(r.agent.running) > 0 {
		text = r.agent.running[0].explain(err) // the policy of each target has the right
	}
	r.agent.receipt.Error = text
	if text != before && ctx.Err() == nil && !errors.Is(err, kv.ErrUnreachable) && !errors.Is(err, kv.ErrUnknownOutcome) {
		r.agent.options.Log.Warn("the receipt was not written; files are installed all the same", "error", text)
	}
}

// reportsTo is hubSource.reportsTo; nil without hubs.
func (a *Agent) reportsTo() (s *session, waiting bool) {
	a.mu.Lock()
	hubs := a.hubs
	a.mu.Unlock()
	if hubs == nil {
		return nil, false
	}
	return hubs.reportsTo()
}

// promise is the name of this node, and how often it reports at least.
func (a *Agent) promise() (node string, every time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config.Node, a.config.Reconcile
}
