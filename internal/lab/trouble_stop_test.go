//go:build linux

package lab_test

import (
	"errors"
	"fmt"
	"testing"

	"kvexpress/internal/lab"
)

// halted counts how often kvexpress in was told on a server that the key is stopped.
func halted(t *testing.T, server *lab.Server) int {
	return wrote(t, server, "kvexpress: hosts is stopped")
}

// operate runs a command as an operator does.
func operate(t *testing.T, s *lab.Scene, args ...string) string {
	t.Helper()
	out, err := s.Kvexpress(t.Context(), lab.Operator, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// stopped stops the key, and changes the catalog meanwhile: nobody gets that.
func stopped(t *testing.T, s *lab.Scene, changed *lab.Service) {
	t.Helper()
	before := last(s)
	operate(t, s, "stop", "-k", lab.Key, "-r", "a test")
	said := wroteAll(t, s, "kvexpress: hosts is stopped")
	set(t, changed, true)
	eventually(t, "kvexpress in to be refused", func() error {
		if wroteAll(t, s, "kvexpress: hosts is stopped") == said {
			return errors.New("it was not")
		}
		return nil
	})
	protected(t, s, before)
}

// What changes during a stop arrives after it without another change, since
// consul-template renders anew when kvexpress in has failed.
func stopAndResume(t *testing.T, s *lab.Scene) {
	changed := s.Services[7]
	stopped(t, s, changed)
	operate(t, s, "resume", "-k", lab.Key)
	published(t, s, changed)
	for _, n := range s.Nodes {
		answers(t, n, changed)
	}
}

// Where the rendered file is left in place, what changes during a stop is lost until
// something else changes: each consul-template finds its file current and runs nothing.
func TestAStopLosesAChangeWhereTheRenderedFileIsKept(t *testing.T) {
	t.Parallel()
	s := fleet(t, lab.Options{Servers: 3, Nodes: 2, Services: 40, KeepRendered: true})
	before := last(s)
	changed, next := s.Services[3], s.Services[4]
	stopped(t, s, changed)
	// One after the other renders it, is refused, and gives the lock away.
	eventually(t, "each server to be refused", func() error {
		for _, server := range s.Servers {
			if halted(t, server) == 0 {
				return fmt.Errorf("%s was not", server.Name)
			}
		}
		return nil
	})
	holder(t, s)
	operate(t, s, "resume", "-k", lab.Key)
	for _, server := range s.Servers {
		if n := halted(t, server); n != 1 {
			t.Errorf("%s was refused %d times", server.Name, n)
		}
	}
	v := changeOne(t, s, next, true)
	if v.Number != before.Number+1 {
		t.Errorf("version %d was published after version %d", v.Number, before.Number)
	}
	if err := stands(v.Hosts, changed, next); err != nil {
		t.Errorf("version %d: %v", v.Number, err)
	}
	final(t, s)
}
