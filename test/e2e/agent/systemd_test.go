//go:build linux

package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// notices are the messages to the test's own systemd.
type notices struct {
	t    *testing.T
	addr string
	mu   sync.Mutex
	all  []string
}

func newNotices(t *testing.T) *notices {
	t.Helper()
	dir, err := os.MkdirTemp("", "kx") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	n := &notices{t: t, addr: filepath.Join(dir, "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.addr, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 64<<10); ; {
			size, _, err := conn.ReadFrom(b)
			if err != nil {
				return // it is closed
			}
			n.mu.Lock()
			n.all = append(n.all, string(b[:size]))
			n.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("systemd was told %q", slices.DeleteFunc(n.all, func(s string) bool { return s == "WATCHDOG=1" }))
		}
	})
	return n
}

func (n *notices) since(first int) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all[first:])
}

// await waits for a notice with this beginning, not counting the first ones, and
// returns how many there are up to it.
func (n *notices) await(first int, begin string) (next int) {
	n.t.Helper()
	e2e.Eventually(n.t, "systemd gets "+begin, func() bool {
		i := slices.IndexFunc(n.since(first), func(s string) bool { return strings.HasPrefix(s, begin) })
		next = first + i + 1
		return i >= 0
	})
	return next
}

// The messages to systemd: ready without a store, status, watchdog, reloading,
// stopping. Messages of execs are ignored.
func TestAgentNotifiesSystemd(t *testing.T) {
	t.Parallel()
	s := consultest.Start(t, consultest.WithData())
	n := newNotices(t)
	m := e2e.NewMachine(t, s.Addr, "NOTIFY_SOCKET="+n.addr, "WATCHDOG_USEC=600000")
	m.Publish(e2e.Text("one", 20))
	s.Stop()
	config := m.Configure("agent", nil,
		e2e.Fields{"key": "hosts", "file": m.Path("hosts"), "exec": "sh -c 'env >" + m.Path("environment") + "'"})
	good := m.Read("agent.yml")
	d := m.Agent("agent")
	if next := n.await(0, "READY=1"); next != 1 {
		t.Errorf("before it is ready, it says %q", n.since(0)[:next-1])
	}
	next := n.await(0, "STATUS=1 target: 1 unreachable; store unreachable since")
	for range 3 { // alive, while the store is unreachable
		next = n.await(next, "WATCHDOG=1")
	}
	m.Holds("hosts", "")
	s.Restart()
	next = n.await(next, "STATUS=1 target: 1 converged; store up")
	next = n.await(next, "WATCHDOG=1")
	m.Holds("hosts", e2e.Text("one", 20))

	environment := m.Read("environment")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if strings.Contains(environment, name+"=") {
			t.Errorf("an exec sees %s", name)
		}
	}
	if !strings.Contains(environment, "KVEXPRESS_KEY=hosts\n") {
		t.Errorf("this test sees no environment: %q", environment)
	}

	// A reload begins and ends, whether it is good or not.
	for _, text := range []string{good, "nonsense: 1\n"} {
		before := monotonic(t)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Signal(syscall.SIGHUP)
		next = n.await(next, "RELOADING=1\nMONOTONIC_USEC=")
		var usec int64
		if _, err := fmt.Sscanf(n.since(next - 1)[0], "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec < before ||
			usec > monotonic(t) {
			t.Errorf("the reload began after %d and before %d, and says %d (%v)", before, monotonic(t), usec, err)
		}
		next = n.await(next, "READY=1")
	}

	d.EndsWell()
	next = n.await(next, "STOPPING=1")
	if more := n.since(next); len(more) > 0 {
		t.Errorf("after it was stopping, it said %q", more)
	}
}

// monotonic is the clock that systemd compares with, in microseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// Without a watchdog, the agent does not say that it is alive.
func TestAgentWithoutAWatchdog(t *testing.T) {
	t.Parallel()
	n := newNotices(t)
	_, m := e2e.Start(t)
	m = m.With("NOTIFY_SOCKET=" + n.addr)
	content := m.Publish(e2e.Text("one", 20))
	m.Configure("agent", nil, e2e.Fields{"key": "hosts", "file": m.Path("hosts")})
	d := m.Agent("agent")
	d.Delivers("hosts", content)
	d.EndsWell()
	n.await(0, "STOPPING=1")
	if all := n.since(0); slices.Contains(all, "WATCHDOG=1") || !slices.Contains(all, "READY=1") {
		t.Errorf("systemd was told %q", all)
	}
}
