package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
)

// reload puts the node's configuration in force, changed by change.
func (n *node) reload(change func(*config.Config)) error {
	c := n.config
	c.Targets = slices.Clone(c.Targets)
	change(&c)
	err := n.agent.Reload(c)
	if err == nil {
		n.config = c
	}
	return err
}

func (n *node) mustReload(change func(*config.Config)) {
	n.t.Helper()
	if err := n.reload(change); err != nil {
		n.t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)
	begin := func(t *testing.T) *node {
		t.Helper()
		n := newNode(t, addr, install.Target{Key: "a"}, install.Target{Key: "b"})
		n.each("one", "a", "b", "c")
		n.start()
		n.current(0, "a one\n")
		n.current(1, "b one\n")
		until(t, "both wait for a change", func() bool { return n.tally.watches.Load() == 4 })
		return n
	}

	beside(t, "targets come, go and change", func(t *testing.T) {
		n := begin(t)
		was, watches := n.status(0), n.tally.of(n.layout.Data("a"))
		n.mustReload(func(c *config.Config) {
			c.Targets = append([]config.Target{n.target(install.Target{Key: "c"})}, c.Targets...)
		})
		n.current(0, "c one\n")
		n.mustReload(func(c *config.Config) { // "b" goes, and "c" has another mode
			mode := fs.FileMode(0o604)
			c.Targets = slices.Delete(c.Targets, 2, 3)
			c.Targets[0].Mode = &mode
			c.Targets[1].At = "agent.yml:99"
		})
		n.current(0, "c one\n")
		until(t, "the mode is right", func() bool {
			info, err := os.Stat(n.path("c"))
			return err == nil && info.Mode().Perm() == 0o604
		})
		if s := n.agent.Status(); len(s.Targets) != 2 || s.Targets[0].Key != "c" || s.Targets[1].Key != "a" || s.Config.Error != "" {
			t.Errorf("%+v", s)
		}
		<-time.After(200 * time.Millisecond)
		if s, got := n.status(1), n.tally.of(n.layout.Data("a")); s.Counts.Reconciles != was.Counts.Reconciles ||
			!s.Since.Equal(*was.Since) || got != watches {
			t.Errorf("it was disturbed: %+v, %d watches", s, got-watches)
		}
		n.each("two", "a", "b", "c")
		n.current(0, "c two\n")
		n.current(1, "a two\n")
		if got := n.file("b"); got != "b one\n" {
			t.Errorf("a target that was taken out was delivered: %q", got)
		}
		n.well()
	})

	beside(t, "one that fails leaves all as it was", func(t *testing.T) {
		n := begin(t)
		was, watches, loaded := n.agent.Status(), n.tally.watches.Load(), n.agent.Status().Config.Loaded
		broken := func(c *config.Config) {
			c.Targets = c.Targets[:1]
			c.Store.Addrs = []string{"nonsense://"}
		}
		if err := n.reload(broken); err == nil {
			t.Fatal("a store that cannot be opened is taken")
		}
		elsewhere := func(c *config.Config) {
			c.Targets = c.Targets[:1]
			c.StateDir = filepath.Join(n.dir, "elsewhere")
		}
		if err := n.reload(elsewhere); err == nil {
			t.Fatal("another state folder is taken")
		}
		s := n.agent.Status()
		if s.Config.Error == "" || !s.Config.Loaded.Equal(loaded) || len(s.Targets) != 2 || n.tally.watches.Load() != watches {
			t.Errorf("%+v", s)
		}
		for i := range s.Targets {
			if s.Targets[i].Counts.Reconciles != was.Targets[i].Counts.Reconciles {
				t.Errorf("it was disturbed: %+v", s.Targets[i])
			}
		}
		n.agent.Refuse(errors.New("agent.yml:7: this\nis no good"))
		if got := n.agent.Status().Config.Error; got != "agent.yml:7: this; is no good" {
			t.Errorf("%q", got)
		}
		n.well()
		n.each("two", "a", "b")
		n.current(0, "a two\n")
		n.current(1, "b two\n")
		n.mustReload(func(*config.Config) {})
		if s := n.agent.Status(); s.Config.Error != "" || s.Config.Loaded.Equal(loaded) {
			t.Errorf("%+v", s)
		}
	})

	beside(t, "another store", func(t *testing.T) {
		n := begin(t)
		requests := n.agent.Status().Requests
		line := newLine(t, addr)
		n.mustReload(func(c *config.Config) { c.Store.Addrs = []string{line.addr} })
		n.current(0, "a one\n")
		n.current(1, "b one\n")
		if s := n.agent.Status(); s.Requests < requests+2 || s.Store.Addr != line.addr {
			t.Errorf("%+v, %d requests before", s, requests)
		}
		n.each("two", "a", "b")
		n.current(0, "a two\n")
		n.current(1, "b two\n")
	})

	beside(t, "while an exec runs", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts", Exec: []string{"./exec"}})
		n.exec("exec", waiting("go"))
		n.publish("hosts", "one\n")
		n.start()
		until(t, "it runs", func() bool { return len(n.lines("log")) == 1 })
		n.mustReload(func(c *config.Config) { c.Targets[0].MinLines = 1 })
		until(t, "it runs anew", func() bool { return len(n.lines("log")) == 2 })
		n.mustReload(func(c *config.Config) { c.Targets[0].At = "elsewhere" }) // no change
		n.write("go", "")
		if s := n.current(0, "one\n"); s.Counts.ExecOK != 1 || s.Counts.ExecFail != 0 {
			t.Errorf("%+v", s)
		}
		if got := n.file("log"); got != "began\nbegan\none\n" {
			t.Errorf("it ran like this:\n%s", got)
		}
	})

	beside(t, "while a status is read", func(t *testing.T) {
		n := begin(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan int)
		go func() {
			seen := 0
			for ctx.Err() == nil {
				for _, s := range n.agent.Status().Targets {
					seen += len(s.Key) + len(s.Since.String())
				}
			}
			done <- seen
		}()
		for i := range times(200) {
			n.mustReload(func(c *config.Config) { c.Targets[0].MinLines = i % 2 })
		}
		cancel()
		if <-done == 0 {
			t.Error("it saw nothing")
		}
		n.each("two", "a", "b")
		n.current(0, "a two\n")
		n.current(1, "b two\n")
	})
}

func TestTwoAgents(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "on one state folder", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.begin("one\n")
		other := newNode(t, addr, install.Target{Key: "hosts"})
		other.config.StateDir = n.config.StateDir
		other.start()
		if err := other.wait(); err == nil || !strings.Contains(err.Error(), "another agent") {
			t.Errorf("the second one ends with %v", err)
		}
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n.start() // the lock is free
		n.current(0, "two\n")
	})

	beside(t, "on one file", func(t *testing.T) {
		a := newNode(t, addr, install.Target{Key: "hosts", Exec: []string{"./exec"}})
		a.exec("exec", `cat hosts >> log`)
		b := newNode(t, addr)
		b.dir, b.layout, b.config.Layout, b.config.Targets = a.dir, a.layout, a.layout, a.config.Targets
		content := func(i int) string { return strings.Repeat(fmt.Sprintf("version %d\n", i), 1000) }
		a.publish("hosts", content(0))
		a.start()
		b.start()
		last := times(300)
		for i := range last + 1 {
			a.publish("hosts", content(i))
			got := a.file("hosts")
			first, _, _ := strings.Cut(got, "\n")
			if got != "" && got != strings.Repeat(first+"\n", 1000) {
				t.Fatalf("it is torn: %d bytes", len(got))
			}
		}
		a.current(0, content(last))
		b.current(0, content(last))
		for _, n := range []*node{a, b} {
			n.well()
			if s := n.status(0); s.Exec.Pending {
				t.Errorf("%+v", s.Exec)
			}
		}
	})
}
