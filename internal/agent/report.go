package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

const (
	// receiptEvery is the least time between two receipts.
	receiptEvery = time.Second
	// receiptLimit is how long one may take.
	receiptLimit = 10 * time.Second
	// An unknown fleet is taken for one of usualFleet nodes. For each node there is
	// perNode until the first receipt of a publish, for the deliveries to be over,
	// and as much in which they come; mostSpread in all at most.
	usualFleet = 200
	perNode    = 1500 * time.Microsecond
	mostSpread = time.Minute
	// Those that are due within slotPerNode for each node, mostSlot at most, are written
	// at one moment: Consul takes what comes together in one step, for half of its CPU.
	slotPerNode = 200 * time.Microsecond
	mostSlot    = 250 * time.Millisecond
)

// receiptDelay is how long a node waits with a receipt, after it has something to say.
// A fleet does not report at one moment, nor while others wait for their delivery.
func receiptDelay(node string, nodes int) time.Duration {
	if nodes <= 0 {
		nodes = usualFleet
	}
	delivery := time.Duration(min(nodes, int(mostSpread/perNode/2))) * perNode
	return delivery + time.Duration(share(node)*float64(delivery))
}

// together is the next moment, by the clock, at which the receipts of a fleet are
// written. Clocks that differ only make it less of one.
func together(due time.Time, nodes int) time.Time {
	if nodes <= 0 {
		nodes = usualFleet
	}
	slot := time.Duration(min(nodes, int(mostSlot/slotPerNode))) * slotPerNode
	return due.Add(slot - due.Sub(due.Truncate(slot))) // keeps the monotonic reading
}

// reporter tells the store what became of the targets of this node. It never makes a
// delivery wait: it reads what targets note, and a receipt that got lost is made good
// by the next one.
type reporter struct {
	agent  *Agent
	writer *fleet.Writer
	link   *link // of the writer

	sent      []fleet.Target // as written last
	away      time.Time      // the end of the outage that was told last
	attempted time.Time
	heartbeat time.Time // when to write although nothing is new
	due       time.Time // when to write what is new; zero: nothing is
	failed    string    // why the last one was not written
	failures  int       // in a row
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) {
	every := r.agent.promise()
	r.heartbeat = time.Now().Add(time.Duration(share(r.agent.nodeName()) * float64(every)))
	for {
		if latest := time.Now().Add(r.agent.promise()); r.heartbeat.After(latest) {
			r.heartbeat = latest // less was promised before a reload
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
			if soon := r.soon(time.Now()); r.due.IsZero() || soon.Before(r.due) {
				r.due = soon
			}
		case <-timer.C:
			r.report(ctx)
		}
		timer.Stop()
	}
}

// soon is when something new is to be written: spread, one receipt a second at most, and
// together with others.
func (r *reporter) soon(now time.Time) time.Time {
	nodes := r.agent.fleetSize()
	due := now.Add(receiptDelay(r.agent.nodeName(), nodes))
	if earliest := r.attempted.Add(receiptEvery); due.Before(earliest) {
		due = earliest
	}
	return together(due, nodes)
}

func (r *reporter) report(ctx context.Context) {
	now := time.Now()
	beat := !r.heartbeat.After(now)
	r.due = time.Time{}
	if beat {
		r.heartbeat = now.Add(r.agent.promise())
	}
	link := r.prepare()
	if link == nil { // receipts are off
		return
	}
	outage := link.outage()
	targets, starting, said := r.agent.receipts()
	news := !slices.EqualFunc(targets, r.sent, fleet.Same) || !outage.ended.Equal(r.away)
	if !news && !beat {
		return
	}
	about := fleet.Agent{Version: r.agent.options.Version, Every: fleet.Millis(r.agent.promise())}
	if !outage.ended.IsZero() {
		about.Outage = &fleet.Outage{Lasted: fleet.Millis(outage.lasted), Ended: fleet.Millis(said.Sub(outage.ended))}
	}
	r.attempted = now
	limited, cancel := context.WithTimeout(ctx, receiptLimit)
	err := r.writer.PutAgent(limited, said, about, targets, starting...)
	cancel()
	r.told(ctx, err)
	if err == nil {
		r.sent, r.away, r.failures = targets, outage.ended, 0
		return
	}
	r.due = now.Add(wait.Backoff{Least: 3 * time.Second, Most: 15 * time.Second}.After(2 * r.failures))
	r.failures++
	if errors.Is(err, kv.ErrDenied) {
		r.due = time.Time{} // with the heartbeat, or when there is news
	}
}

// prepare follows the configuration. It returns the way to the store, nil if nothing
// is to be reported.
func (r *reporter) prepare() *link {
	a := r.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.config.Receipts {
		r.writer, r.sent, a.receipt = nil, nil, ReceiptStatus{}
		return nil
	}
	if r.writer == nil || r.link != a.link || r.writer.Node != a.config.Node || r.writer.Layout != a.config.Layout {
		r.link, r.sent = a.link, nil
		r.writer = &fleet.Writer{Store: aside{a.link}, Layout: a.config.Layout, Node: a.config.Node, Host: a.options.Host}
	}
	return r.link
}

// told notes what became of a receipt, and logs one that was not written, once for each
// reason. A store that is away, the link tells.
func (r *reporter) told(ctx context.Context, err error) {
	text := ""
	r.agent.mu.Lock()
	if now := time.Now(); err == nil {
		r.agent.receipt = ReceiptStatus{Last: &now}
	} else {
		text = oneLine(err.Error())
		if len(r.agent.running) > 0 {
			text = r.agent.running[0].explain(err) // the policy of each target has the right
		}
		r.agent.receipt.Error = text
	}
	r.agent.mu.Unlock()
	if err == nil || ctx.Err() != nil {
		r.failed = ""
		return
	}
	if text != r.failed && !errors.Is(err, kv.ErrUnreachable) && !errors.Is(err, kv.ErrUnknownOutcome) {
		r.agent.options.Log.Warn("the receipt was not written; files are installed all the same", "error", text)
	}
	r.failed = text
}

// receipts is what there is to say of each target that had its first pass, the files
// of those that are still at it, and the moment up to which it is told.
func (a *Agent) receipts() (all []fleet.Target, starting []string, said time.Time) {
	a.mu.Lock()
	running := slices.Clone(a.running)
	a.mu.Unlock()
	tales := make([]tale, len(running))
	for i, r := range running {
		tales[i] = r.tale()
	}
	said = time.Now() // not before: a file may have been put in place a moment ago
	for _, tale := range tales {
		if tale.Outcome == outcome.Starting {
			starting = append(starting, tale.File)
		} else {
			all = append(all, tale.upTo(said))
		}
	}
	slices.SortFunc(all, func(a, b fleet.Target) int { return strings.Compare(a.File, b.File) })
	return all, starting, said
}

// tale is what a target has to say, but how long it has been so.
type tale struct {
	fleet.Target
	since, placed time.Time // zero: it is not known, nothing was placed
}

// upTo is what is said at a moment after the tale.
func (t tale) upTo(now time.Time) fleet.Target {
	if !t.since.IsZero() {
		t.Since = fleet.Millis(now.Sub(t.since))
	}
	if t.Placed != nil {
		t.Placed.Age = fleet.Millis(now.Sub(t.placed))
	}
	return t.Target
}

func (t *target) tale() tale {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.status
	said := tale{Target: fleet.Target{
		By: fleet.ByAgent, Key: s.Key, File: s.File,
		Lineage: s.Lineage, Version: s.Version, SHA256: s.SHA256,
		Outcome: s.Outcome, Reason: s.Reason, Detail: s.Brief,
	}}
	if s.Since != nil {
		said.since = *s.Since
	}
	if e := s.Exec; e != nil {
		said.ExecPending = e.Pending
		if e.Last != nil {
			said.Exec = &fleet.Exec{Exit: e.Exit, Failures: e.Failures}
		}
	}
	if p := t.placed; p != nil && p.sha256 == s.SHA256 && p.version == s.Version {
		said.placed, said.Placed = p.at, &fleet.Placed{First: p.first, Steps: p.steps}
	}
	return said
}

// placed is how a version came to be in place.
type placed struct {
	lineage string
	version uint64
	sha256  string
	at      time.Time
	first   bool // found at the first look of a node that had nothing
	steps   fleet.Steps
}

// place notes an install, but not that of a version that was in place before: that is
// a repair. mu is held.
func (t *target) place(r install.Result, began time.Time) {
	old := t.placed
	if r.Action != install.Installed || r.Placed.IsZero() ||
		old != nil && old.lineage == r.Lineage && old.version == r.Version && old.sha256 == r.SHA256 {
		return
	}
	t.placed = &placed{
		lineage: r.Lineage, version: r.Version, sha256: r.SHA256, at: r.Placed,
		first: r.Before == "" && t.status.Good == nil && t.status.Outcome != outcome.Missing,
		steps: steps(r),
	}
	if !t.newsAt.IsZero() {
		t.placed.steps.Wait = fleet.Millis(max(0, began.Sub(t.newsAt)))
	}
}

func steps(r install.Result) fleet.Steps {
	s := fleet.Steps{Install: fleet.Millis(r.Placed.Sub(r.Began))}
	if r.Exec != nil {
		s.Exec = fleet.Millis(r.Exec.Duration)
	}
	return s
}

// Said is what an `out` has to say of its one delivery, in an agent's words.
func Said(r install.Result, err error, now time.Time) fleet.Target {
	state, reason := Judge(r, err)
	said := fleet.Target{
		By: fleet.ByOut, Key: r.Key, File: r.File, Outcome: state, Detail: brief(err), ExecPending: r.ExecPending || state == outcome.Pending,
		Lineage: r.Lineage, Version: r.Version, SHA256: r.SHA256,
	}
	if state == outcome.Refused {
		said.Reason = reason
	}
	if err != nil && r.Action != install.Installed && state != outcome.Pending || r.Action == install.Restored {
		said.Lineage, said.Version, said.SHA256 = "", 0, r.Before // what the store has is not in place
	}
	if r.Exec != nil {
		said.Exec = &fleet.Exec{Exit: r.Exec.ExitCode}
	}
	if r.Action == install.Installed && !r.Placed.IsZero() {
		// The first version of a key is new to all of its nodes.
		first := r.Before == "" && r.Version != 1
		said.Placed = &fleet.Placed{Age: fleet.Millis(now.Sub(r.Placed)), First: first, Steps: steps(r)}
	}
	return said
}

// brief is why a target is not as it should be, for others: what a command printed
// stays on the node.
func brief(err error) string {
	var failed *command.Error
	var refusal *gate.Refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal) && refusal.Reason == gate.CheckFailed:
		return "the check of the new file failed"
	case errors.As(err, &failed):
		return oneLine(failed.Brief())
	}
	return oneLine(err.Error())
}

// promise is how often this node reports at least.
func (a *Agent) promise() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config.Reconcile
}

func (a *Agent) nodeName() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config.Node
}

// fleetSize is how many nodes publishers counted; 0: none did.
func (a *Agent) fleetSize() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	most := 0
	for _, r := range a.running {
		most = max(most, int(r.fleet.Load()))
	}
	return most
}
