package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/config"
	"kvexpress/internal/hold"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
	"kvexpress/internal/store/consul"
)

// node is a node with an agent, on a real store.
type node struct {
	t      testing.TB
	dir    string
	store  *consul.Store // of the test, not of the agent
	layout kv.Layout
	config config.Config
	log    *logged
	tally  tally // of the agent's requests
	change func(*agent.Options)
	agent  *agent.Agent
	wait   func() error // waits for the agent's end
	stop   func() error // ends the agent, and waits for it
}

// logged is the log of an agent.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

const host = "web-17"

func newNode(t testing.TB, addr string, targets ...install.Target) *node {
	t.Helper()
	store, err := consul.New(consul.Options{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	// A prefix of its own: tests may share a server.
	layout, err := kv.NewLayout("kvexpress-" + kv.NewID()[:8])
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: t.TempDir(), store: store, layout: layout, log: &logged{}}
	n.config = config.Config{
		Store: config.Store{Addrs: []string{addr}}, Layout: layout, Node: host,
		StateDir: filepath.Join(n.dir, "state"), Reconcile: time.Hour,
	}
	for _, target := range targets {
		n.config.Targets = append(n.config.Targets, n.target(target))
	}
	t.Cleanup(func() {
		if n.stop != nil {
			_ = n.stop()
		}
		if t.Failed() {
			t.Logf("the agent's log:\n%s", n.log)
		}
	})
	return n
}

// target adds defaults to a target. A relative file, and a script
// that begins with ./, are in the node's folder.
func (n *node) target(t install.Target) config.Target {
	if t.File == "" {
		t.File = string(t.Key)
	}
	if !filepath.IsAbs(t.File) {
		t.File = filepath.Join(n.dir, t.File)
	}
	if len(t.Exec) > 0 && strings.HasPrefix(t.Exec[0], "./") {
		// Not by itself: a file that was just written may be "busy".
		t.Exec = append([]string{"/bin/sh", n.path(t.Exec[0])}, t.Exec[1:]...)
	}
	return config.Target{Target: t}
}

func (n *node) open(s config.Store) ([]agent.Store, error) {
	var all []agent.Store
	for _, addr := range s.Addrs {
		store, err := consul.New(consul.Options{Addr: addr, TokenFile: s.TokenFile, Lasting: true, Timeout: 5 * time.Second})
		if err != nil {
			return nil, err
		}
		all = append(all, &counted{store, &n.tally})
	}
	return all, nil
}

// start runs the agent; it ends with the test.
func (n *node) start() {
	n.t.Helper()
	options := agent.Options{
		Config: n.config, Open: n.open, Host: host, Version: "test", ReceiptSpread: 300 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	if n.change != nil {
		n.change(&options)
	}
	a, err := agent.New(options)
	if err != nil {
		n.t.Fatal(err)
	}
	n.agent = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	n.wait = sync.OnceValue(func() error {
		select {
		case err := <-done:
			return err
		case <-time.After(3 * time.Minute):
			return errors.New("the agent does not end")
		}
	})
	n.stop = func() error { cancel(); return n.wait() }
}

// publish publishes content over any live version.
func (n *node) publish(key kv.Key, content string) {
	n.t.Helper()
	p := publish.Publisher{Store: n.store, Layout: n.layout, By: "test"}
	if _, err := p.Publish(n.t.Context(), publish.Request{Key: key, Content: []byte(content), IgnoreStop: true}); err != nil {
		n.t.Fatal(err)
	}
}

// begin publishes the first target's content, starts the agent, and waits until it is in place.
func (n *node) begin(content string) {
	n.t.Helper()
	n.publish(n.config.Targets[0].Key, content)
	n.start()
	n.current(0, content)
}

// put writes one row past kvexpress.
func (n *node) put(path, value string) {
	n.t.Helper()
	n.commit(kv.Op{Verb: kv.Set, Path: path, Value: []byte(value)})
}

func (n *node) commit(ops ...kv.Op) {
	n.t.Helper()
	if _, err := n.store.Commit(n.t.Context(), ops); err != nil {
		n.t.Fatal(err)
	}
}

// rows are the current rows of a key, for commit.
func (n *node) rows(key kv.Key) []kv.Op {
	n.t.Helper()
	paths := []string{n.layout.Data(key), n.layout.Checksum(key), n.layout.Manifest(key)}
	snap, err := n.store.Read(n.t.Context(), kv.Default, paths...)
	if err != nil {
		n.t.Fatal(err)
	}
	var ops []kv.Op
	for _, path := range paths {
		if row := snap[path]; row.State == kv.Present {
			ops = append(ops, kv.Op{Verb: kv.Set, Path: path, Value: row.Value, Flags: row.Flags})
		}
	}
	return ops
}

// remove deletes all rows below a prefix.
func (n *node) remove(prefix string) {
	n.t.Helper()
	paths, err := n.store.Keys(n.t.Context(), prefix)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, path := range paths {
		n.commit(kv.Op{Verb: kv.Delete, Path: path})
	}
}

func (n *node) stopKey(key kv.Key, reason string) {
	n.t.Helper()
	if _, err := n.freezer().Stop(n.t.Context(), key, reason); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) resume(key kv.Key) {
	n.t.Helper()
	if was, _, err := n.freezer().Resume(n.t.Context(), key, ""); err != nil || was == "" {
		n.t.Fatalf("resume: %q, %v", was, err)
	}
}

func (n *node) lock(name, reason string, until time.Time) {
	n.t.Helper()
	if _, err := n.freezer().Lock(n.t.Context(), filepath.Join(n.dir, name), reason, until); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) unlock(name string) {
	n.t.Helper()
	if was, err := n.freezer().Unlock(n.t.Context(), filepath.Join(n.dir, name)); err != nil || was == "" {
		n.t.Fatalf("unlock: %q, %v", was, err)
	}
}

func (n *node) freezer() hold.Freezer {
	return hold.Freezer{Recorder: hold.Recorder{Store: n.store, Layout: n.layout}, Host: host, Replace: true}
}

// path is where a file of the node is.
func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// write changes a file of the node by hand.
func (n *node) write(name, content string) {
	n.t.Helper()
	if err := os.WriteFile(n.path(name), []byte(content), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// exec makes a script of the node. It runs in the node's folder.
func (n *node) exec(name, script string) {
	n.t.Helper()
	if err := os.WriteFile(n.path(name), fmt.Appendf(nil, "cd %s || exit 99\n%s\n", n.dir, script), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// file is the content of a target's file; "" if there is none.
func (n *node) file(name string) string {
	b, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	return string(b)
}

// until waits for something to come true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// state waits for a target to be in a state.
func (n *node) state(i int, want outcome.Outcome) agent.TargetStatus {
	n.t.Helper()
	var s agent.TargetStatus
	until(n.t, fmt.Sprintf("target %d is %s", i, want), func() bool {
		s = n.agent.Status().Targets[i]
		return s.Outcome == want
	})
	return s
}

// current waits until a target has converged with this content, and returns its status.
func (n *node) current(i int, content string) agent.TargetStatus {
	n.t.Helper()
	file := n.config.Targets[i].File
	var s agent.TargetStatus
	until(n.t, fmt.Sprintf("%s is current with %.20q", file, content), func() bool {
		s = n.status(i)
		return s.Outcome == outcome.Converged && s.SHA256 == record.Checksum([]byte(content))
	})
	if got := n.file(filepath.Base(file)); got != content {
		n.t.Fatalf("%s is said to be current, and holds %.20q", file, got)
	}
	return s
}

// status is the current status of a target.
func (n *node) status(i int) agent.TargetStatus { return n.agent.Status().Targets[i] }

// well expects a healthy agent, with any outcomes of its targets.
func (n *node) well() {
	n.t.Helper()
	if err := n.agent.Ready(); err != nil {
		n.t.Errorf("it is not ready: %v", err)
	}
	if err := n.agent.Healthy(); err != nil {
		n.t.Errorf("it is not healthy: %v", err)
	}
}

// times is full in a soak, and a tenth of it otherwise.
func times(full int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return full
	}
	return max(1, full/10)
}
