//go:build linux

package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// systemd is the socket of the test's own systemd.
type systemd struct {
	*net.UnixConn
	t *testing.T
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@kvexpress-" + e2e.Sum(t.TempDir())[:16], Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &systemd{conn, t}
}

// next is the next message, "" if there is none within a time.
func (s *systemd) next(within time.Duration) string {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(within)); err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	size, err := s.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatal(err)
	}
	return string(b[:size])
}

// upTo are the messages up to one with this beginning.
func (s *systemd) upTo(begin string) (all []string) {
	s.t.Helper()
	for {
		message := s.next(time.Minute)
		if all = append(all, message); strings.HasPrefix(message, begin) {
			return all
		}
		if message == "" {
			s.t.Fatalf("systemd is not told %s, but %q", begin, all)
		}
	}
}

// The messages to systemd: ready without a store, status, watchdog, reloading,
// stopping. Messages of execs are ignored.
func TestAgentNotifiesSystemd(t *testing.T) {
	t.Parallel()
	s := consultest.Start(t, consultest.WithData())
	n := newSystemd(t)
	m := e2e.NewMachine(t, s.Addr, "NOTIFY_SOCKET="+n.LocalAddr().String(), "WATCHDOG_USEC=600000")
	m.Publish(e2e.Text("one", 20))
	s.Stop()
	config := m.Configure("agent", nil,
		e2e.Fields{"key": "hosts", "file": m.Path("hosts"), "exec": "sh -c 'env >" + m.Path("environment") + "'"})
	good := m.Read("agent.yml")
	d := m.Agent("agent")
	if all := n.upTo("READY=1"); len(all) > 1 {
		t.Errorf("before it is ready, it says %q", all)
	}
	n.upTo("STATUS=1 target: 1 unreachable; store unreachable since")
	for range 3 { // alive, while the store is unreachable
		n.upTo("WATCHDOG=1")
	}
	m.Holds("hosts", "")
	s.Restart()
	n.upTo("STATUS=1 target: 1 converged; store up")
	n.upTo("WATCHDOG=1")
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
		all := n.upTo("RELOADING=1\nMONOTONIC_USEC=")
		var usec int64
		if _, err := fmt.Sscanf(all[len(all)-1], "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec < before ||
			usec > monotonic(t) {
			t.Errorf("the reload began after %d and before %d, and says %d (%v)", before, monotonic(t), usec, err)
		}
		n.upTo("READY=1")
	}

	d.EndsWell()
	n.upTo("STOPPING=1")
	if more := n.next(50 * time.Millisecond); more != "" {
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
	n := newSystemd(t)
	_, m := e2e.Start(t)
	m = m.With("NOTIFY_SOCKET=" + n.LocalAddr().String())
	content := m.Publish(e2e.Text("one", 20))
	m.Configure("agent", nil, e2e.Fields{"key": "hosts", "file": m.Path("hosts")})
	d := m.Agent("agent")
	d.Delivers("hosts", content)
	d.EndsWell()
	if all := n.upTo("STOPPING=1"); slices.Contains(all, "WATCHDOG=1") || !slices.Contains(all, "READY=1") {
		t.Errorf("systemd was told %q", all)
	}
}
