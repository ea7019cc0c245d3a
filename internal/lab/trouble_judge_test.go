//go:build linux

package lab_test

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/lab"
	"kvexpress/internal/lab/order"
)

// Two nodes get their files in ways that are broken: one in two halves, and one goes back
// by a version. What judges the answers must find both, and nothing in the others.
func TestNodesThatAreTornOrGoBackAreFound(t *testing.T) {
	t.Parallel()
	s := fleet(t, lab.Options{Servers: 3, Nodes: 4, Services: 60})
	torn, back := s.Nodes[0], s.Nodes[1]
	for _, n := range []*lab.Node{torn, back} {
		if err := n.Switch(t.Context(), lab.None); err != nil {
			t.Fatal(err)
		}
	}
	var old []byte
	for _, service := range s.Services[:3] {
		was := service.Addr()
		s.Sampler.Focus(lab.FQDN(service.Name))
		changeOne(t, s, service, true)
		now, err := os.ReadFile(holder(t, s).Rendered)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(now, []byte("\n"))
		began := time.Now()
		deliver(t, torn, bytes.Join(lines[:len(lines)/2], nil))
		asked(t, s, torn, began, func(a order.Answer) bool { return !a.Addr.IsValid() })
		deliver(t, torn, now)
		deliver(t, back, now)
		asked(t, s, back, began, func(a order.Answer) bool { return a.Addr == service.Addr() })
		if old != nil {
			began = time.Now()
			deliver(t, back, old)
			asked(t, s, back, began, func(a order.Answer) bool { return a.Addr == was })
			deliver(t, back, now)
		}
		old = now
	}
	s.Sampler.Focus("")
	arrived(t, s, s.Nodes...)
	for i, v := range s.Judge() {
		bad := s.Nodes[i] == torn || s.Nodes[i] == back
		if found := len(v.Faults) > 0; found != bad {
			t.Errorf("%s: %d faults in %d answers", v.Node, len(v.Faults), v.Answers)
		}
		if bad && len(v.Faults) > 0 {
			t.Logf("%s: %d faults, such as: %s", v.Node, len(v.Faults), v.Faults[0].Why)
		}
	}
}

// asked waits until a node has given such an answer, so that there is something to find.
func asked(t *testing.T, s *lab.Scene, n *lab.Node, since time.Time, such func(order.Answer) bool) {
	t.Helper()
	eventually(t, n.Name+" to be asked", func() error {
		list, _, _ := s.Sampler.Answers(n)
		for _, a := range list {
			if a.Asked.After(since) && such(a) {
				return nil
			}
		}
		return errors.New("it has not yet answered so")
	})
}

// deliver writes a node's file in place, without kvexpress, and reloads dnsmasq.
func deliver(t *testing.T, n *lab.Node, content []byte) {
	t.Helper()
	err := os.WriteFile(n.Hosts, content, 0o600)
	if pid := n.Dnsmasq.PID(); pid != 0 {
		err = errors.Join(err, syscall.Kill(pid, syscall.SIGHUP))
	}
	if err != nil {
		t.Fatal(err)
	}
}
