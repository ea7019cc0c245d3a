//go:build linux

package lab_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvexpress/internal/lab"
)

// refused counts how often kvexpress in has refused what was rendered.
func refused(t *testing.T, s *lab.Scene) int {
	return wroteAll(t, s, "kvexpress: hosts is refused: it has ")
}

// catalogLost takes most services out at once: what is rendered then is too short, and
// nobody gets it.
func catalogLost(t *testing.T, s *lab.Scene) {
	lost := s.Services[5:]
	said := refused(t, s)
	for _, service := range lost {
		set(t, service, false)
	}
	// Those that went first may still have been published; then no more.
	eventually(t, "kvexpress in to refuse", func() error {
		if refused(t, s) == said {
			return errors.New("it did not")
		}
		return nil
	})
	for _, v := range s.Recorder.Versions() {
		if len(v.Hosts) < 30 {
			t.Errorf("version %d has %d names", v.Number, len(v.Hosts))
		}
	}
	protected(t, s, caughtUp(t, s))
	for _, service := range lost {
		set(t, service, true)
	}
	published(t, s, s.Services...)
	if err := s.Settled(t.Context()); err != nil {
		t.Error(err)
	}
}

// protected sees that all nodes answer what a version says, now.
func protected(t *testing.T, s *lab.Scene, v lab.Published) {
	t.Helper()
	arrived(t, s, s.Nodes...)
	for _, n := range s.Nodes {
		for _, service := range s.Services {
			answer, err := n.Ask(t.Context(), service.Name)
			if err != nil {
				t.Error(err)
				continue
			}
			if want := v.Hosts[lab.FQDN(service.Name)]; answer.Exists != want.IsValid() || answer.Exists && answer.Addrs[0] != want {
				t.Errorf("%s says %+v of %s, and version %d %v", n.Name, answer, service.Name, v.Number, want)
			}
		}
	}
	if now := last(s); now.Number != v.Number {
		t.Errorf("version %d was published after version %d", now.Number, v.Number)
	}
}

// caughtUp waits for the lab to have seen the last version that a renderer says it has
// published.
func caughtUp(t *testing.T, s *lab.Scene) lab.Published {
	t.Helper()
	var newest uint64
	for _, server := range s.Servers {
		content, err := os.ReadFile(server.Renderer.Log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			var number uint64
			if _, err := fmt.Sscanf(line, "hosts: published version %d", &number); err == nil {
				newest = max(newest, number)
			}
		}
	}
	eventually(t, "the last version that was rendered", func() error {
		if v := last(s); v.Number < newest {
			return fmt.Errorf("version %d of %d has been seen", v.Number, newest)
		}
		return nil
	})
	return last(s)
}

// rightsLost takes from consul-template the right to see services: it renders a file
// without any, and nobody gets that.
func rightsLost(t *testing.T, s *lab.Scene) {
	said, before := refused(t, s), len(s.Recorder.Versions())
	rules, err := s.Allow(t.Context(), lab.Renderer, "")
	if err != nil {
		t.Fatal(err)
	}
	blind := strings.Replace(rules, `service_prefix "" {
  policy = "read"`, `service_prefix "" {
  policy = "deny"`, 1)
	if blind == rules {
		t.Fatalf("these rules have no services in them: %s", rules)
	}
	if _, err := s.Allow(t.Context(), lab.Renderer, blind); err != nil {
		t.Fatal(err)
	}
	// A query that waits has the rights with which it began: so it takes some changes, and
	// services go one by one. As long as enough are left, that is published.
	i := 0
	eventually(t, "kvexpress in to refuse", func() error {
		if refused(t, s) == said {
			set(t, s.Services[i%len(s.Services)], true)
			i++
			return errors.New("it did not")
		}
		return nil
	})
	t.Logf("consul-template saw nothing after %d changes", i)
	protected(t, s, caughtUp(t, s))
	for _, v := range s.Recorder.Versions()[before:] {
		if len(v.Hosts) < 30 {
			t.Errorf("version %d has %d names", v.Number, len(v.Hosts))
		}
	}
	if _, err := s.Allow(t.Context(), lab.Renderer, rules); err != nil {
		t.Fatal(err)
	}
	published(t, s, s.Services...)
}

// shortByHand publishes an empty and a short file by hand. Both are refused; with a lower
// limit the short one is not, and then names are gone.
func shortByHand(t *testing.T, s *lab.Scene) {
	before := last(s)
	dir := t.TempDir()
	short, empty := filepath.Join(dir, "short"), filepath.Join(dir, "empty")
	for path, content := range map[string]string{short: "127.0.0.1 localhost\n10.0.0.1 web-01.lab.test\n", empty: ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := s.Kvexpress(t.Context(), lab.Publisher, "in", "-k", lab.Key, "-f", path, "-l", "30")
		if code(err) != 6 {
			t.Errorf("%s: exit code %d: %s %v", path, code(err), out, err)
		}
	}
	if _, err := s.Kvexpress(t.Context(), lab.Publisher, "in", "-k", lab.Key, "-f", empty, "-l", "1"); code(err) != 6 {
		t.Errorf("an empty file, with -l 1: %v", err)
	}
	protected(t, s, before)

	// With a lower limit it is published, and where the node's own limit is as low, names
	// are gone.
	if _, err := s.Kvexpress(t.Context(), lab.Publisher, "in", "-k", lab.Key, "-f", short, "-l", "1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the short version", func() error {
		if v := last(s); len(v.Hosts) != 2 {
			return fmt.Errorf("version %d has %d names", v.Number, len(v.Hosts))
		}
		return nil
	})
	bad := last(s)
	careless := s.Nodes[0]
	if err := careless.RunOut(t.Context(), "-l", "1"); err != nil {
		t.Fatal(err)
	}
	arrived(t, s, careless)
	if !lostNames(s, careless, bad) {
		t.Errorf("%s took a version without names, and lost none", careless.Name)
	}
	if _, err := s.Kvexpress(t.Context(), lab.Publisher, "rollback", "-k", lab.Key, "-l", "30"); err != nil {
		t.Fatal(err)
	}
	published(t, s, s.Services...)
	arrived(t, s, s.Nodes...)
	for _, n := range s.Nodes[1:] {
		if lostNames(s, n, bad) {
			t.Errorf("%s lost names, although it wants 30 lines", n.Name)
		}
	}
}

// lostNames tells whether a node ever denied the name of a service, from a version on.
// All services must be up.
func lostNames(s *lab.Scene, n *lab.Node, since lab.Published) bool {
	list, _, _ := s.Sampler.Answers(n)
	for _, a := range list {
		if a.Asked.After(since.Published) && !a.Addr.IsValid() {
			return true
		}
	}
	return false
}
