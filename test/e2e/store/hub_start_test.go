//go:build linux

package store

import (
	"regexp"
	"slices"
	"testing"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// onBoth runs the test of a client on a real Consul, the control, and on
// `kvexpress hub`. The machine that it gets talks to that store.
func onBoth(t *testing.T, test func(t *testing.T, m *e2e.Machine)) {
	t.Helper()
	t.Parallel()
	t.Run("consul", func(t *testing.T) {
		t.Parallel()
		test(t, e2e.NewMachine(t, consultest.Start(t).Addr))
	})
	t.Run("hub", func(t *testing.T) {
		t.Parallel()
		test(t, e2e.NewMachine(t, serve(t).addr))
	})
}

// served is a `kvexpress hub` of a test.
type served struct {
	*e2e.Daemon
	addr string // host:port of its API
}

var listening = regexp.MustCompile(`(?m)^listening on (127[.0-9]+:[0-9]+|\[::\]:[0-9]+)$`)

// serve runs one until the test ends, and waits until it listens: in memory, and on a free port, unless args say otherwise.
func serve(t testing.TB, args ...string) *served {
	t.Helper()
	line := append([]string{e2e.Program.Path, "hub"}, args...)
	if !slices.Contains(args, "--data-dir") {
		line = append(line, "--dev")
	}
	if !slices.Contains(args, "--listen") {
		line = append(line, "--listen", "127.0.0.1:0")
	}
	s := &served{Daemon: e2e.NewMachine(t, "").Start("hub", line...)}
	e2e.Eventually(t, "the hub prints its address", func() bool {
		found := listening.FindStringSubmatch(s.Said())
		if found != nil {
			s.addr = found[1]
		} else if s.Ended() {
			t.Fatalf("the hub ended: %v\n%s", s.Cmd.ProcessState, s.Said())
		}
		return found != nil
	})
	return s
}
