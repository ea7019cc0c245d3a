package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// maxOutputs is how many bytes of output a status holds, of the commands of all targets.
const maxOutputs = 1 << 20

// Options are what an agent is made of.
type Options struct {
	Config  config.Config
	Open    func(config.Store) ([]Store, error) // makes the stores of a configuration; nothing is sent
	Host    string                              // the operating system's host name: locks go by it
	Version string                              // of the program
	Log     *slog.Logger
	Hook    install.FaultHook // nil but in tests

	pace pace // nil but in tests
}

// Agent keeps the targets of a node what the store says.
type Agent struct {
	options Options
	started time.Time

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	config  config.Config
	loaded  time.Time
	refused error // why the last reload was
	link    *link
	running []*runner
	groups  map[string]*groupRunner
	limits  *install.Limits
	waits   *waits
	past    uint64 // requests of links that are no more
	receipt ReceiptStatus
	news    chan struct{} // holds one: a target has something to report
}

// runner is a target and its goroutine.
type runner struct {
	*target
	routine
}

type groupRunner struct {
	*group
	routine
}

// routine is a goroutine that can be ended. Until it is started it is zero.
type routine struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// start starts it, if it does not run.
func (r *routine) start(ctx context.Context, run func(context.Context)) {
	if r.done == nil {
		ctx, r.cancel = context.WithCancel(ctx)
		r.done = make(chan struct{})
		go func() { defer close(r.done); run(ctx) }()
	}
}

// end tells it to end. The function that it returns waits for that.
func (r *routine) end() (wait func()) {
	if r.done == nil {
		return func() {}
	}
	r.cancel()
	return func() { <-r.done }
}

// New makes an agent. Nothing is sent, and nothing is touched, before Run.
func New(o Options) (*Agent, error) {
	if o.pace == nil {
		o.pace = patience
	}
	a := &Agent{
		options: o, started: time.Now(),
		groups: map[string]*groupRunner{}, limits: install.NewLimits(), waits: newWaits(),
		news: make(chan struct{}, 1),
	}
	stores, err := o.Open(o.Config.Store)
	if err != nil {
		return nil, err
	}
	a.link = newLink(stores, a.waits, o.Log)
	a.apply(o.Config)
	return a, nil
}

// Run keeps the targets right until ctx ends, and returns when all that it began
// has come to an end: a command that runs is ended, and stays owed.
func (a *Agent) Run(ctx context.Context) error {
	a.mu.Lock()
	dir := a.config.StateDir
	a.mu.Unlock()
	lock, err := lockState(dir)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.ctx = ctx
	a.start(ctx)
	a.mu.Unlock()
	(&reporter{agent: a}).run(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ctx = nil
	a.stop(func(*runner) bool { return true })
	return lock.Close()
}

// Reload puts another configuration in force. All that can fail is done before
// anything that runs is touched: after an error all is as it was. Targets that did
// not change are not disturbed.
func (a *Agent) Reload(c config.Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.StateDir != a.config.StateDir || c.Listen != a.config.Listen {
		a.refused = errors.New("state_dir and listen cannot change while the agent runs; restart it")
		return a.refused
	}
	stores, err := a.options.Open(c.Store)
	if err != nil {
		a.refused = err
		return err
	}
	same := reflect.DeepEqual(c.Store, a.config.Store)
	all := !same || c.Layout != a.config.Layout || c.Node != a.config.Node || c.Reconcile != a.config.Reconcile
	a.stop(func(r *runner) bool { return all || !slices.ContainsFunc(c.Targets, sameTarget(r.target, c)) })
	if same {
		a.renew(stores)
	} else {
		a.past += a.link.requests.Load()
		a.link = newLink(stores, a.waits, a.options.Log)
	}
	a.apply(c)
	if a.ctx != nil {
		a.start(a.ctx)
	}
	select {
	case a.news <- struct{}{}: // targets may be gone, or receipts be on
	default:
	}
	return nil
}

// renew takes stores of the same configuration, whose token and certificates have
// been read again. Who was denied asks again; mu is held.
func (a *Agent) renew(stores []Store) {
	a.link.renew(stores)
	for _, r := range a.running {
		if r.snapshot().Outcome == outcome.Denied {
			r.wake()
		}
	}
}

// Refuse notes a configuration that could not even be read.
func (a *Agent) Refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = err
}

// apply makes the targets of a configuration that do not exist yet; mu is held, or
// nobody knows us.
func (a *Agent) apply(c config.Config) {
	a.config, a.loaded, a.refused = c, time.Now(), nil
	a.link.serve(len(c.Targets))
	shared := sharedExecs(c.Targets)
	d := &install.Installer{Store: a.link, Layout: c.Layout, Host: a.options.Host, StateDir: c.StateDir, Fault: a.options.Hook}
	var all []*runner
	since := a.loaded
	for _, t := range c.Targets {
		key := t.ExecGroup()
		t.DeferExec = deferred(t, shared)
		if i := slices.IndexFunc(a.running, func(r *runner) bool { return sameTarget(r.target, c)(t) }); i >= 0 {
			all = append(all, a.running[i])
			continue
		}
		log := a.options.Log.With("key", string(t.Key), "file", t.File)
		r := &runner{target: &target{
			Target: t, node: c.Node, every: c.Reconcile, layout: c.Layout, link: a.link, deliver: d, limits: a.limits,
			returns: newReturns(), pace: a.options.pace, log: log, news: a.news,
			answers: make(chan answer, 1), kick: make(chan struct{}, 1),
			status: TargetStatus{Key: string(t.Key), File: t.File, Outcome: outcome.Starting, Since: &since},
		}}
		if len(t.Exec) > 0 {
			r.status.Exec = &ExecStatus{}
		}
		if t.DeferExec {
			g := a.groups[key]
			if g == nil {
				g = &groupRunner{group: newGroup(d, a.options.pace, a.options.Log.With("exec", t.Exec[0]))}
				g.every = t.ExecEvery
				a.groups[key] = g
			}
			r.group = g.group
		}
		all = append(all, r)
	}
	for i, r := range all {
		if beyond := i >= maxWatched; r.beyond.Swap(beyond) != beyond && r.done != nil {
			r.wake() // its row may be another one
		}
	}
	a.running = all
}

// sharedExecs counts how many targets have the same exec.
func sharedExecs(targets []config.Target) map[string]int {
	n := map[string]int{}
	for _, t := range targets {
		if key := t.ExecGroup(); key != "" {
			n[key]++
		}
	}
	return n
}

// deferred reports whether a group runs the exec of a target.
func deferred(t config.Target, shared map[string]int) bool {
	return shared[t.ExecGroup()] > 1 || t.ExecEvery > 0
}

// start runs what does not run yet; mu is held.
func (a *Agent) start(ctx context.Context) {
	for _, g := range a.groups {
		g.start(ctx, g.run)
	}
	for _, r := range a.running {
		r.start(ctx, r.run)
	}
}

// stop ends the targets that which names, and the groups that nobody is left of, and
// waits for them; mu is held.
func (a *Agent) stop(which func(*runner) bool) {
	var left []*runner
	used := map[*group]bool{}
	for _, r := range a.running {
		if !which(r) {
			left = append(left, r)
			used[r.group] = true
		} else {
			defer r.end()()
		}
	}
	for key, g := range a.groups {
		if !used[g.group] {
			defer g.end()()
			delete(a.groups, key)
		}
	}
	a.running = left
}

// Status is how the agent and its targets are.
func (a *Agent) Status() Status {
	a.mu.Lock()
	running, link := slices.Clone(a.running), a.link
	s := Status{
		Version: a.options.Version, Node: a.config.Node, PID: os.Getpid(), Started: a.started,
		Config:   ConfigStatus{Files: a.config.Files, Loaded: a.loaded},
		Receipt:  a.receipt,
		Requests: a.past + link.requests.Load(),
		Targets:  []TargetStatus{},
	}
	s.Receipt.Off = !a.config.Receipts
	if a.refused != nil {
		s.Config.Error = oneLine(a.refused.Error())
	}
	a.mu.Unlock()
	s.Store = link.status()
	room := maxOutputs
	for _, r := range running {
		t := r.snapshot()
		if room -= len(t.Check); t.Exec != nil {
			room -= len(t.Exec.Output)
		}
		if room < 0 {
			t.hideOutput()
		}
		s.Targets = append(s.Targets, t)
	}
	return s
}

// Healthy is nil as long as no target is stuck in a pass that should be over.
func (a *Agent) Healthy() error {
	a.mu.Lock()
	running := slices.Clone(a.running)
	a.mu.Unlock()
	now := time.Now()
	var stuck []error
	for _, r := range running {
		if took := r.stuck(now); took > 0 {
			stuck = append(stuck, fmt.Errorf("%s: a pass has been running for %s", r.File, took.Round(time.Second)))
		}
	}
	return errors.Join(stuck...)
}

// Ready is nil once every target has been looked at, see Ready.
func (a *Agent) Ready() error { return Ready(a.Status()) }
