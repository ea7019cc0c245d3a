package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/config"
	"kvexpress/internal/install"
)

// Options are what an agent is made of.
type Options struct {
	Config  config.Config
	Open    func(config.Store) ([]Store, error) // makes the stores of a configuration; nothing is sent
	Hubs    func(config.Config) (Uplink, error) // the way to its hubs; nothing is sent
	Host    string                              // the operating system's host name: locks go by it
	Version string                              // of the program
	Log     *slog.Logger
	// ReceiptSpread is the time in which a fleet reports a change. 0: 3 s.
	ReceiptSpread time.Duration
	Fault         install.FaultHook // nil but in tests

	Random func() float64 // from 0 to 1, for jitter; nil: rand.Float64

	pace pace // nil but in tests
}

// Agent keeps the targets of a node converged.
type Agent struct {
	options Options
	started time.Time
	news    chan struct{} // holds one: a target has something to report
	limits  *install.Limits
	waits   *waits
	probes  chan struct{} // that run

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	config  config.Config
	loaded  time.Time
	refused error // why the last reload was
	source  *storeSource
	hubs    *hubSource // nil without hubs
	finding routine    // of hubs
	running []*target
	groups  map[string]*group
	past    uint64 // requests of sources from before a reload
	receipt ReceiptStatus
}

// New makes an agent. Nothing is sent, and nothing is touched, before Run.
func New(o Options) (*Agent, error) {
	if o.pace == nil {
		o.pace = patience
	}
	a := &Agent{
		options: o, started: time.Now(), news: make(chan struct{}, 1),
		groups: map[string]*group{}, limits: install.NewLimits(), waits: newWaits(),
		probes: make(chan struct{}, maxProbes),
	}
	stores, err := o.Open(o.Config.Store)
	if err != nil {
		return nil, err
	}
	a.source = newStoreSource(stores, a.waits, o.pace, o.Log)
	uplink, err := a.uplink(o.Config)
	if err != nil {
		return nil, err
	}
	a.useHubs(o.Config)
	a.apply(o.Config, uplink)
	return a, nil
}

// Run keeps the targets converged until ctx ends, and returns when all that it began has ended: a command that runs is ended,
// and stays pending.
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
	a.stop(func(*target) bool { return true })
	a.finding.end()()
	return lock.Close()
}

// lockState makes sure that one agent alone works with a state folder. The lock ends with the process.
func lockState(dir string) (io.Closer, error) {
	d, err := atomicfile.OpenPrivate(dir, true)
	if err != nil {
		return nil, fmt.Errorf("the state folder: %w; make it usable, or choose another with state_dir", err)
	}
	f, err := d.OpenFile("agent.lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, fmt.Errorf("lock the state folder %s: agent.lock: %w; make it usable, or choose another with state_dir", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another agent uses the state folder %s; end that agent, or choose another folder with "+
			"state_dir", dir), f.Close())
	}
	return stateLock{f}, nil
}

type stateLock struct{ *os.File }

// Close ends the lock also if a child that has just been forked still has the descriptor.
func (l stateLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

// Status is the state of the agent and its targets.
func (a *Agent) Status() Status {
	a.mu.Lock()
	running, source, hubs := slices.Clone(a.running), a.source, a.hubs
	s := Status{
		Version: a.options.Version, Node: a.config.Node, PID: os.Getpid(), Started: a.started,
		Config:   ConfigStatus{Files: a.config.Files, Loaded: a.loaded},
		Receipt:  a.receipt,
		Requests: a.past + source.requests.Load(),
		Targets:  []TargetStatus{},
	}
	s.Receipt.Off = !a.config.Receipts
	if a.refused != nil {
		s.Config.Error = oneLine(a.refused.Error())
	}
	a.mu.Unlock()
	s.Store = source.status()
	s.Contact = source.contact()
	if hubs != nil {
		s.Hub, s.Contact = hubs.status()
	}
	room := maxOutputs
	for _, r := range running {
		t := r.snapshot()
		t.Polled = t.Polled && (s.Hub == nil || s.Hub.Direct)
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

// Healthy is nil as long as no reconcile is stuck.
func (a *Agent) Healthy() error {
	a.mu.Lock()
	running := slices.Clone(a.running)
	a.mu.Unlock()
	now := time.Now()
	var stuck []error
	for _, r := range running {
		if took := r.stuck(now); took > 0 {
			stuck = append(stuck, fmt.Errorf("%s: a reconcile has been running for %s", r.File, took.Round(time.Second)))
		}
	}
	return errors.Join(stuck...)
}

// Ready is nil once every target was reconciled, see Ready.
func (a *Agent) Ready() error { return Ready(a.Status(), time.Now()) }
