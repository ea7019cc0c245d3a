//go:build linux

package scale

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"kvexpress/internal/lab/machine"
)

const (
	keyHosts = "hosts" // has a version before the agents start
	keyAdHoc = "adhoc" // does not exist before its scene

	// fewest is how many lines publishers and nodes want, as in the story.
	fewest = 100
)

// Server is a Consul server that runs.
type Server struct {
	Addr string // host:port of its HTTP API
	PID  int    // whose CPU is counted
}

// Options are what is run. All are needed, but for those with a default.
type Options struct {
	// Servers share one datacenter, with ACLs on. Their http_max_conns_per_client must
	// allow for four connections for each node: all have one address.
	Servers []Server
	Token   string // may do everything: it makes the nodes' tokens
	Program string // path of kvexpress
	Dir     string // absolute, empty, and on a disk: an fsync in memory costs nothing. It stays
	Nodes   int    // 1 to 9999, each a process; more than fit are refused
	Changes int    // versions of the hosts file that are measured, after one to warm up
	// Settle is how long the fleet is left alone after each publish has arrived, for all
	// that comes after a receipt; 0: two seconds.
	Settle time.Duration
	// Limit is the most that may pass until all agents run, and until a version has
	// arrived; 0: two minutes.
	Limit time.Duration
	// Tolerance is by how much the two sides may differ beyond what receipts explain;
	// 0: DefaultTolerance.
	Tolerance time.Duration
	Note      func(string) // is told how it goes on; nil: nobody is
}

// agents are what a node takes: an agent with two targets, and Consul's part for its
// connections.
func agents() machine.Need {
	return machine.Need{PerNode: 6 << 20, Reserve: 2 << 30, Threads: 12, Files: 2}
}

// Run starts the fleet, plays both scenes and ends the fleet, whatever happens. What the
// fleet did wrong is in the result, see Result.Problems; an error is what kept it from
// being run or looked at, such as too little memory, and then the result has what there
// was until then.
func Run(ctx context.Context, o Options) (result *Result, err error) {
	result = &Result{}
	if err := o.complete(); err != nil {
		return result, err
	}
	memory, err := agents().Room(o.Nodes)
	if err != nil {
		return result, err
	}
	result.about(o, memory)
	s := &site{Options: o, result: result}
	if err := s.prepare(ctx); err != nil {
		return result, err
	}
	s.processes = hire(ctx)
	defer func() { err = errors.Join(err, s.processes.end()) }()
	if err := s.start(ctx); err != nil {
		return result, err
	}
	if _, err := s.change(ctx, hosts(1)); err != nil { // the first is slower: caches are empty
		return result, fmt.Errorf("warm up: %w", err)
	}
	for n := range o.Changes {
		c, err := s.change(ctx, hosts(2+n))
		if err != nil {
			return result, fmt.Errorf("change %d of %s: %w", n+1, keyHosts, err)
		}
		result.Hosts = append(result.Hosts, c)
		s.note("%s", c.line())
	}
	c, err := s.adHoc(ctx)
	if err != nil {
		return result, fmt.Errorf("ad hoc: %w", err)
	}
	result.AdHoc = &c
	s.note("%s", c.line())
	return result, nil
}

func (o *Options) complete() error {
	switch {
	case len(o.Servers) == 0 || o.Token == "" || o.Program == "":
		return errors.New("scale needs Consul servers, a management token and the path of kvexpress")
	case !filepath.IsAbs(o.Dir):
		return fmt.Errorf("the folder %q is not absolute: targets have absolute paths", o.Dir)
	case o.Nodes < 1 || o.Nodes > 9999:
		return fmt.Errorf("%d nodes: give 1 to 9999", o.Nodes)
	case o.Changes < 1:
		return fmt.Errorf("%d changes: give one at least", o.Changes)
	}
	if o.Settle == 0 {
		o.Settle = 2 * time.Second
	}
	if o.Limit == 0 {
		o.Limit = 2 * time.Minute
	}
	if o.Tolerance == 0 {
		o.Tolerance = DefaultTolerance
	}
	if err := machine.OnDisk(o.Dir); err != nil {
		return fmt.Errorf("%w; TMPDIR is where temporary ones are", err)
	}
	return nil
}
