package hosts

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"kvexpress/lab/order"
)

// A service that leaves the catalog is known nowhere any more, and one that comes is known
// everywhere.
func TestAServiceLeavesAndComes(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 10})
	for _, service := range f.Services[:3] {
		for _, up := range []bool{false, true} {
			c, err := f.Make(t.Context(), service, up)
			must(t, err, f.Answer(t.Context(), f.Nodes, service))
			last := c.Last()
			if c.Rendered <= 0 || c.Published <= c.Rendered || last.Answer <= c.Published || len(c.Nodes) != 10 {
				t.Errorf("%+v", c)
			}
			t.Logf("up %v: rendered %v, published %v, last answer %v (%s)", up, c.Rendered, c.Published, last.Answer, last.Node.Name)
		}
	}
	final(t, f)
}

// Start and Settled return when the recorder has seen a version, not when DNS is ready.
// Otherwise a fleet would have no last version.
func TestAVersionIsWaitedFor(t *testing.T) {
	t.Parallel()
	f := &Fleet{}
	f.Recorder = newRecorder(f)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.Settled(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with no version: %v", err)
	}
	f.versions = []Published{{Version: order.Version{Number: 1}}}
	must(t, f.Settled(t.Context()))
}

// Two nodes get their files in broken ways: one in two halves, and one goes back by a version.
// The judgement must find both, and no fault in the others.
func TestNodesThatAreTornOrGoBackAreFound(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 4})
	torn, back := f.Nodes[0], f.Nodes[1]
	turn(t, torn, "none")
	turn(t, back, "none")
	var old []byte
	for _, service := range f.Services[:3] {
		was := service.Addr()
		f.Focus(service)
		changed(t, f, service, true)
		now, err := os.ReadFile(holder(t, f).Rendered)
		must(t, err)
		lines := bytes.SplitAfter(now, []byte("\n"))
		began := time.Now()
		deliver(t, torn, bytes.Join(lines[:len(lines)/2], nil))
		said(t, f, torn, began, func(a order.Answer) bool { return !a.Addr.IsValid() })
		deliver(t, torn, now)
		deliver(t, back, now)
		said(t, f, back, began, func(a order.Answer) bool { return a.Addr == service.Addr() })
		if old != nil {
			began = time.Now()
			deliver(t, back, old)
			said(t, f, back, began, func(a order.Answer) bool { return a.Addr == was })
			deliver(t, back, now)
		}
		old = now
	}
	f.Focus(nil)
	arrived(t, f, f.Nodes...)
	for i, v := range f.Judge() {
		bad := f.Nodes[i] == torn || f.Nodes[i] == back
		if found := len(v.Faults) > 0; found != bad {
			t.Errorf("%s: %d faults in %d answers", v.Node, len(v.Faults), v.Answers)
		} else if bad {
			t.Logf("%s: %d faults, such as: %s", v.Node, len(v.Faults), v.Faults[0].Why)
		}
	}
}

// said waits until a node has given such an answer.
func said(t *testing.T, f *Fleet, n *Node, since time.Time, such func(order.Answer) bool) {
	t.Helper()
	eventually(t, n.Name+" to answer so", func() error {
		if _, ok := f.Said(n, since, such); !ok {
			return errors.New("it has not")
		}
		return nil
	})
}

// deliver writes a node's file in place, without kvexpress, and reloads dnsmasq.
func deliver(t *testing.T, n *Node, content []byte) {
	t.Helper()
	must(t, os.WriteFile(n.Hosts, content, 0o600))
	n.Dnsmasq.Signal(syscall.SIGHUP)
}

// The check for doubled, missing or old versions must find them.
func TestVersionsThatAreDoubledMissingOrOldAreFound(t *testing.T) {
	t.Parallel()
	version := func(number uint64, addr string) Published {
		hosts := map[string]netip.Addr{"web": netip.MustParseAddr(addr)}
		return Published{Version: order.Version{Number: number, Hosts: hosts}, SHA256: addr}
	}
	good := []Published{version(1, "10.0.0.1"), version(2, "10.0.0.2"), version(3, "10.0.0.3")}
	must(t, doubled(good), returned(good))
	same, gap := append(good, version(4, "10.0.0.3")), append(good, version(5, "10.0.0.4"))
	if doubled(same) == nil || doubled(gap) == nil || returned(append(good, version(4, "10.0.0.2"))) == nil {
		t.Error("a version that is doubled, missing or old was not found")
	}
}
