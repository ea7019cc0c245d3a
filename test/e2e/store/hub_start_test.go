//go:build linux

package store

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

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
	*consultest.Process
	addr string // host:port of its API
	log  string // path
}

// serve runs one in memory until the test ends.
func serve(t testing.TB, args ...string) *served {
	t.Helper()
	s, err := startServe(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the end of the log of the hub:\n%s", e2e.Tail(s.said(), 30))
		}
	})
	return s
}

// serveArgs is a command line: in memory, and on a free port, unless args say otherwise.
func serveArgs(args []string) []string {
	line := []string{"hub"}
	if !slices.Contains(args, "--data-dir") {
		line = append(line, "--dev")
	}
	if !slices.Contains(args, "--listen") {
		line = append(line, "--listen", "127.0.0.1:0")
	}
	return append(line, args...)
}

// startServe runs one on a free port, until kill, and waits until it listens.
func startServe(dir string, args ...string) (*served, error) {
	if e2e.Program.Err != nil {
		return nil, e2e.Program.Err
	}
	log, err := os.CreateTemp(dir, "hub-*.log")
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		return nil, err
	}
	s := &served{log: log.Name()}
	env := append(e2e.Quiet(dir), "PATH="+os.Getenv("PATH"))
	if s.Process, err = consultest.StartProcess(e2e.Program.Path, serveArgs(args), env, dir, s.log); err != nil {
		return nil, err
	}
	listening := regexp.MustCompile(`(?m)^listening on (127[.0-9]+:[0-9]+|\[::\]:[0-9]+)$`)
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && !s.Ended(); e2e.Pause(5 * time.Millisecond) {
		if found := listening.FindStringSubmatch(s.said()); found != nil {
			s.addr = found[1]
			return s, nil
		}
	}
	s.kill()
	return nil, fmt.Errorf("the hub does not print its address: %v\n%s", s.Cmd.ProcessState, s.said())
}

func (s *served) said() string {
	b, _ := os.ReadFile(s.log) // none is nothing
	return string(b)
}

// kill is kill -9, and waits for the end.
func (s *served) kill() { s.End(syscall.SIGKILL) }
