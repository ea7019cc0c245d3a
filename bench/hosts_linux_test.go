package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/lab"
	"kvexpress/internal/lab/machine"
)

// The kinds of hosts-file fleets: how a service gets from the catalog to the DNS of
// each node.
const (
	hostsMixed    kind = "kvexpress-mixed" // half of the nodes by a watch, half by an agent
	hostsWatch    kind = "kvexpress-watch" // all by a watch
	hostsAgent    kind = "kvexpress-agent" // all by an agent
	hostsTemplate kind = "consul-template" // rendered on each node
)

// hostsModes are the modes of the nodes of a kind; nil: the lab's own.
func hostsModes(k kind) func(int) lab.Mode {
	all := func(m lab.Mode) func(int) lab.Mode { return func(int) lab.Mode { return m } }
	switch k {
	case hostsWatch:
		return all(lab.Watch)
	case hostsAgent:
		return all(lab.Agent)
	case hostsTemplate:
		return all(lab.Template)
	default:
		return nil
	}
}

// hostsFleet is a comparison of the kinds. One lab is alive at a time.
type hostsFleet struct {
	tools                    lab.Tools
	servers, nodes, services int
	warm, changes, blocks    int
	pause                    time.Duration // after each change
	rest                     time.Duration // at rest, in the first block of each kind; 0: not
}

// hostsBlock is what one lab came to.
type hostsBlock struct {
	changes []lab.Change
	cpu     hostsCPU // per change, with the pause
	resting hostsRest
}

// BenchmarkHostsFleet: 3 Consul servers, 10 nodes, 60 services; from a change of the
// catalog to the last DNS answer, beside consul-template on each node.
func BenchmarkHostsFleet(b *testing.B) {
	kinds := wanted(b, hostsMixed, hostsTemplate, hostsWatch, hostsAgent)
	f := hostsFleet{
		servers: 3, nodes: number(b, "KVEXPRESS_BENCH_NODES", 10), services: 60,
		warm: 4, changes: 14, blocks: number(b, "KVEXPRESS_BENCH_ROUNDS", 4), pause: 500 * time.Millisecond, rest: time.Duration(number(b, "KVEXPRESS_BENCH_REST", 20)) * time.Second,
	}
	root, err := lab.SourceRoot()
	if err == nil {
		f.tools, err = lab.FindTools(root)
	}
	if err == nil {
		f.tools.Kvexpress, err = lab.Build(b.Context(), root, b.TempDir())
	}
	if err != nil {
		b.Fatal(err)
	}
	results := map[kind][]hostsBlock{}
	for block := range f.blocks {
		order := slices.Clone(kinds)
		if block%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			r, err := f.block(b, k, block)
			if err != nil {
				b.Fatalf("%s: %v", k, err)
			}
			results[k] = append(results[k], r)
		}
	}
	f.report(b, kinds, results)
}

// block runs one lab from its start to its end.
func (f hostsFleet) block(b *testing.B, k kind, block int) (r hostsBlock, err error) {
	b.Helper()
	dir := os.Getenv(dirEnv)
	if dir == "" {
		dir = b.TempDir()
	}
	base, err := os.MkdirTemp(dir, "kvexpress-hosts-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(base)
	if err := errors.Join(onDisk(base), machine.Spread(base)); err != nil {
		return r, err
	}
	ctx := b.Context()
	l, err := lab.New(ctx, lab.Options{Tools: f.tools, Dir: base, Servers: f.servers, Nodes: f.nodes, Services: f.services, Mode: hostsModes(k)})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := l.Watch(ctx)
	if err != nil {
		return r, err
	}
	defer s.Close()
	if err := l.Start(ctx); err != nil {
		return r, err
	}
	if err := s.Settled(ctx); err != nil {
		return r, err
	}
	if block == 0 && f.rest > 0 {
		if r.resting, err = f.atRest(ctx, l); err != nil {
			return r, err
		}
	}
	s.AskLess(ctx)
	if _, err := f.make(ctx, s, 0, f.warm); err != nil {
		return r, err
	}
	p := findHostsProcesses(l)
	before, err := p.cpu()
	if err != nil {
		return r, err
	}
	if r.changes, err = f.make(ctx, s, f.warm, f.changes); err != nil {
		return r, err
	}
	after, err := p.cpu()
	if err != nil {
		return r, err
	}
	r.cpu = after.since(before, len(r.changes))
	if k != hostsTemplate { // there nothing is published that answers could be held against
		for _, v := range s.Judge() {
			for _, fault := range v.Faults {
				err = errors.Join(err, fmt.Errorf("%s: %s", v.Node, fault.Why))
			}
		}
	}
	if testing.Verbose() { // else this would be all that is shown
		load, _ := os.ReadFile("/proc/loadavg") // for people
		b.Logf("block %d, %s: share and total %s; load %s", block+1, k, hostsMedians(r.changes), strings.TrimSpace(string(load)))
	}
	return r, err
}

// make makes so many changes: a service leaves and comes back, then another one does.
func (f hostsFleet) make(ctx context.Context, s *lab.Scene, from, n int) ([]lab.Change, error) {
	var changes []lab.Change
	for i := from; i < from+n; i++ {
		// The services of neighbouring numbers are on different nodes.
		c, err := s.Make(ctx, s.Services[i/2*7%len(s.Services)], i%2 == 1)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
		time.Sleep(f.pause)
	}
	return changes, nil
}
