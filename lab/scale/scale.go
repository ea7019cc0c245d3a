// Package scale runs a fleet of real agents, a process with its own token for each node,
// against the Consul servers of a hosts.Fleet, and holds what `kvexpress status` tells of
// each version against what an outside observer sees.
//
// From outside, a file is in place at its ctime, which the kernel sets when it renames,
// and an exec is done at the mtime of the file to which it adds a line. An observer with
// inotify would queue for a processor among a thousand agents, and be late by as much as
// it wants to measure.
package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kvexpress/lab/hosts"
	"kvexpress/lab/proc"
)

// atOnce is how many agents start at a time.
const atOnce = 16

// site is a fleet that runs.
type site struct {
	*hosts.Fleet
	tolerance time.Duration
	settle    time.Duration // time from the last receipt to the check of the files
	nodes     []*node
	published map[string]int // how many versions each node had of a key
}

// node is one machine of the fleet.
type node struct {
	name, dir string
	unit      *proc.Unit
}

func (n *node) file(k string) string  { return filepath.Join(n.dir, k) }
func (n *node) trace(k string) string { return filepath.Join(n.dir, k+".ran") }

// Run starts an agent for each of f.Agents, changes a hosts file of 600 lines, and then puts
// a file from a URL on all nodes. The error is what went wrong, or how the two sides differ.
func Run(ctx context.Context, f *hosts.Fleet, changes int) (r Result, err error) {
	s := &site{Fleet: f, tolerance: tolerance, settle: 2 * time.Second, published: map[string]int{}}
	if err := s.start(ctx); err != nil {
		return r, err
	}
	for i := range changes + 1 {
		v, err := s.change(ctx, i+1)
		if err != nil {
			return r, err
		}
		if i > 0 { // the first one warms up
			r.changes = append(r.changes, v)
		}
	}
	r.adHoc, err = s.adHoc(ctx)
	return r, err
}

// start starts the agents, a few at a time, and comes back when all have their file, have
// run its exec, and have reported.
func (s *site) start(ctx context.Context) error {
	folder := filepath.Join(s.Logs(), "nodes")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	// On ext4, nodes get places of their own on the disk, as if each had one: else most of
	// their time is the search for free inodes. Other file systems may refuse.
	_, _ = s.Set.Run(ctx, nil, "chattr", "+T", folder)
	for i, name := range s.Agents() {
		if err := s.add(name, filepath.Join(folder, name), i); err != nil {
			return err
		}
	}
	if _, err := s.in(ctx, hosts.Key, lines(0)); err != nil {
		return err
	}
	began := time.Now()
	for some := range slices.Chunk(s.nodes, atOnce) {
		if err := proc.Each(some, func(n *node) error {
			return errors.Join(n.unit.Start(), proc.Poll(ctx, n.name+" to run its exec", func() error {
				_, err := os.Stat(n.trace(hosts.Key))
				return errors.Join(n.unit.Alive(), err)
			}))
		}); err != nil {
			return err
		}
	}
	s.Say(fmt.Sprintf("%d agents have their first file after %v", len(s.nodes), time.Since(began).Round(time.Millisecond)))
	return proc.Poll(ctx, "all nodes to report", func() error {
		have, err := s.status(ctx, hosts.Key)
		lack, err2 := s.status(ctx, hosts.KeyAdHoc)
		if err := errors.Join(err, err2); err != nil || have.Converged == len(s.nodes) && lack.Nodes == len(s.nodes) {
			return err
		}
		proc.Sleep(ctx, 500*time.Millisecond)
		return fmt.Errorf("%d and %d of %d have", have.Converged, lack.Nodes, len(s.nodes))
	})
}

// add configures a node, which asks another server first than its neighbours. JSON is YAML.
func (s *site) add(name, dir string, number int) error {
	n := &node{name: name, dir: dir}
	var stores []string
	for i := range s.Servers {
		stores = append(stores, s.Servers[(number+i)%len(s.Servers)].Addr)
	}
	var targets []any
	for _, k := range []string{hosts.Key, hosts.KeyAdHoc} {
		exec := []string{"sh", "-c", `echo "$KVEXPRESS_VERSION $KVEXPRESS_SHA256" >>"$1"`, "exec", n.trace(k)}
		targets = append(targets, map[string]any{"key": k, "file": n.file(k), "mode": "0644", "min_lines": 100, "exec": exec})
	}
	settings := map[string]any{
		"stores": stores, "token_file": s.TokenFile(name), "node": name, "listen": "",
		"state_dir": filepath.Join(dir, "state"), "targets": targets,
	}
	if len(s.Hubs) > 0 {
		settings["hubs"] = s.HubAddrs()
	}
	config, err := json.Marshal(settings)
	// Nodes have processors of their own: where all share one machine, a thousand agents
	// that wake up at once must not keep the servers from theirs, which lose their leader.
	argv := []string{"nice", "-n", "19", s.Tools.Kvexpress, "agent", "-C", n.file("agent.yml")}
	n.unit = s.Set.Add(&proc.Unit{Name: name, Log: n.file("agent.log"), Argv: argv})
	s.nodes = append(s.nodes, n)
	return errors.Join(err, os.Mkdir(dir, 0o700), os.WriteFile(n.file("agent.yml"), config, 0o600))
}

// lines is a file of 600 lines, 22 KB, that differs with n in every line.
func lines(n int) string {
	var b strings.Builder
	for i := range 600 {
		fmt.Fprintf(&b, "10.%d.%d.%d web-%04d.example web-%04d\n", n%250, i/250, i%250, i, i)
	}
	return b.String()
}

// in publishes a file.
func (s *site) in(ctx context.Context, key, content string, more ...string) (string, error) {
	s.published[key]++
	source := filepath.Join(s.Dir, "source")
	if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
		return "", err
	}
	if !slices.Contains(more, "-u") {
		more = append(more, "-f", source)
	}
	return s.Kvexpress(ctx, hosts.Publisher, append([]string{"in", "-k", key, "-l", "100"}, more...)...)
}

// change publishes another hosts file, and measures its delivery.
func (s *site) change(ctx context.Context, n int) (*version, error) {
	return s.deliver(ctx, hosts.Key, lines(n))
}

// adHoc puts a file from a URL on all nodes, as docs/ad-hoc.md tells, under a key that did
// not exist: the agents have a target for it.
func (s *site) adHoc(ctx context.Context) (*version, error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, lines(249)) }))
	defer server.Close()
	return s.deliver(ctx, hosts.KeyAdHoc, lines(249), "-u", server.URL+"/adhoc")
}
