package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvexpress/bench/internal/floor"
	"kvexpress/internal/kv"
	"kvexpress/test/e2e"
)

// A kind is a program that keeps a file right, and how nodes of it run.
type kind string

const (
	ours           kind = "kvexpress"       // a process for each node
	old            kind = "old"             // the same of another build, if one is given
	floorRaw       kind = "floor-raw"       // a process for each node
	consulTemplate kind = "consul-template" // a process for each node

	oursTogether     kind = "kvexpress, one process"
	oursReporting    kind = "kvexpress with receipts, one process"
	floorRawTogether kind = "floor-raw, one process"
)

const (
	prefix = "kvexpress"
	key    = kv.Key("hosts")

	dirEnv   = "KVEXPRESS_BENCH_DIR"   // where the nodes have their folders, on a disk
	kindsEnv = "KVEXPRESS_BENCH_KINDS" // comma-separated words: only kinds that hold one of them
	childEnv = "KVEXPRESS_BENCH_CHILD" // makes this program the one process of a fleet
)

// site is where the nodes of one fleet live: a folder each.
type site struct {
	Addr     string // that the nodes ask
	Hub      string // that they follow; "": none
	CA       string // of the hub's certificate, for clients without an agent; "": no TLS
	Base     string
	Nodes    int
	Targets  int    // of each node: one that all have, the others are its own; 0: 1
	Receipts bool   // our nodes report; the others cannot, so that comparisons do without
	Extra    string // lines of the YAML of each target
}

func (s site) node(i int) string   { return filepath.Join(s.Base, fmt.Sprintf("n%04d", i)) }
func (s site) target(i int) string { return filepath.Join(s.node(i), "out", "hosts") }
func (s site) state(i int) string  { return filepath.Join(s.node(i), "state") }

// list is the targets of a node: all but the first are its own.
func (s site) list(i int) []target {
	list := []target{{string(key), s.target(i)}}
	for n := 1; n < s.Targets; n++ {
		name := fmt.Sprintf("n%04d-%04d", i, n)
		list = append(list, target{name, filepath.Join(filepath.Dir(s.target(i)), name)})
	}
	return list
}

// newSite makes the folders. Remove it when it is no longer used.
func newSite(b *testing.B, addr string, nodes int) (site, []string) {
	b.Helper()
	dir := os.Getenv(dirEnv)
	if dir == "" {
		dir = b.TempDir()
	}
	base, err := os.MkdirTemp(dir, "kvexpress-fleet-")
	if err == nil {
		b.Cleanup(func() { os.RemoveAll(base) })
		// On ext4, nodes get places of their own on the disk, as if each had one: else most of
		// their time is the search for free inodes. Other file systems may refuse.
		_ = exec.CommandContext(b.Context(), "chattr", "+T", base).Run()
		err = onDisk(base)
	}
	s := site{Addr: addr, Base: base, Nodes: nodes}
	var targets []string
	for i := range nodes {
		targets = append(targets, s.target(i))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(s.target(i)), 0o700), os.Mkdir(s.state(i), 0o700))
	}
	if err != nil {
		b.Fatal(err)
	}
	return s, targets
}

// tools are the paths of the programs.
type tools struct{ kvexpress, old, floor, consulTemplate string }

// buildTools makes those that the kinds need.
func buildTools(b *testing.B, kinds ...kind) tools {
	b.Helper()
	dir := b.TempDir()
	t := tools{kvexpress: filepath.Join(dir, "kvexpress"), old: os.Getenv(oldEnv), floor: filepath.Join(dir, "floor")}
	if slices.Contains(kinds, ours) || slices.ContainsFunc(kinds, kind.through) {
		build(b, dir, "kvexpress", "scripts/build") // as it is released
	}
	if slices.Contains(kinds, floorRaw) {
		build(b, dir, "floor", "go", "build", "-C", "bench/floor", "-trimpath", "-ldflags", "-s -w", "-o")
	}
	if slices.Contains(kinds, consulTemplate) {
		t.consulTemplate = e2e.FindConsulTemplate(b)
	}
	return t
}

// start runs the nodes of a site. It does not wait for their files.
func (t tools) start(b *testing.B, k kind, s site) *fleet {
	b.Helper()
	f := newFleet(b, filepath.Join(s.Base, "log"))
	if strings.HasSuffix(string(k), ", one process") {
		spec, err := json.Marshal(child{Kind: k, Site: s})
		if err == nil {
			err = enoughFiles(uint64(map[bool]int{true: 8, false: 1}[k != hubIdle]*s.Nodes + 200))
		}
		if err != nil {
			b.Fatal(err)
		}
		exe, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		f.spawn([]string{childEnv + "=" + string(spec)}, exe)
		return f
	}
	for i := range s.Nodes {
		t.spawn(f, k, s, i)
	}
	return f
}

// spawn starts the process of one node.
func (t tools) spawn(f *fleet, k kind, s site, i int) {
	f.b.Helper()
	switch k {
	case ours, old:
		file := filepath.Join(s.node(i), "agent.yml")
		write(f.b, file, agentYAML(s, i, s.list(i)...))
		f.spawn(nil, map[kind]string{ours: t.kvexpress, old: t.old}[k], "agent", "-C", file)
	case floorRaw:
		f.spawn(nil, t.floor, s.Addr, prefix, string(key), s.target(i))
	case consulTemplate:
		// Without -wait and -dedup it acts as soon as it can.
		source := filepath.Join(s.node(i), "source")
		write(f.b, source, []byte(`{{ key "`+prefix+"/"+string(key)+`/data" }}`))
		f.spawn(nil, t.consulTemplate, "-consul-addr", s.Addr, "-log-level", "err", "-template", source+":"+s.target(i))
	default:
		f.b.Fatalf("no process for %s", k)
	}
}

// wanted are the kinds that KVEXPRESS_BENCH_KINDS leaves, without an old one if there is none.
func wanted(b *testing.B, kinds ...kind) []kind {
	b.Helper()
	words := os.Getenv(kindsEnv)
	kinds = slices.DeleteFunc(kinds, func(k kind) bool { return k == old && os.Getenv(oldEnv) == "" })
	if words == "" {
		return kinds
	}
	var left []kind
	for _, k := range kinds {
		for word := range strings.SplitSeq(words, ",") {
			if strings.Contains(string(k), word) {
				left = append(left, k)
				break
			}
		}
	}
	if len(left) == 0 {
		b.Skipf("%s=%s leaves none of %q", kindsEnv, words, kinds)
	}
	return left
}

// child has the options of this program as the one process of a fleet: a process
// of its own, so that its CPU time is the nodes' alone.
type child struct {
	Kind kind
	Site site
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := runChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run() // its result is the exit code when TestMain returns
}

// restartSignal restarts the first nodes of a fleet in one process.
const (
	restartSignal = syscall.SIGUSR1
	restarted     = 5
)

func runChild(spec string) error {
	var c child
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	restart := make(chan os.Signal, 1)
	signal.Notify(restart, restartSignal)
	var wg sync.WaitGroup
	lives := make(chan context.CancelFunc, restarted) // of the nodes that restart
	for i := range c.Site.Nodes {
		run, err := c.node(i)
		if err != nil {
			cancel(err)
			break
		}
		wg.Go(func() {
			for {
				life, end := context.WithCancel(ctx)
				if i < restarted {
					lives <- end
				}
				err := run(life)
				ended := life.Err() != nil
				end()
				if ctx.Err() != nil {
					return
				}
				if ended {
					run, err = c.node(i)
				}
				if err != nil || !ended {
					cancel(fmt.Errorf("node %d: %w", i, err))
					return
				}
			}
		})
	}
	for ctx.Err() == nil {
		select {
		case <-restart:
			for range min(restarted, c.Site.Nodes) {
				(<-lives)()
			}
		case <-ctx.Done():
		}
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// node makes one node, which runs until its context ends.
func (c child) node(i int) (func(context.Context) error, error) {
	switch c.Kind {
	case oursTogether, oursReporting, hubTogether, hubReporting:
		n, err := newAgent(c.Site, i)
		if err != nil {
			return nil, err
		}
		return n.Run, nil
	case floorRawTogether:
		return (&floor.Client{Addr: c.Site.Addr, Prefix: prefix, Key: string(key), File: c.Site.target(i)}).Run, nil
	}
	switch c.Kind {
	case hubBareTogether:
		return bare{hub: c.Site.Hub, file: c.Site.target(i), i: i}.run, nil
	case hubIdle:
		return newIdle(c.Site, i)
	case socketsTogether:
		return func(ctx context.Context) error { return receive(ctx, c.Site.Hub, c.Site.target(i)) }, nil
	}
	return nil, fmt.Errorf("no nodes of kind %q", c.Kind)
}
