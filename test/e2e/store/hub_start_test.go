//go:build linux

package store

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
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

// served is a `kvexpress hub` of a test: a process of its own.
type served struct {
	addr string // host:port of its API
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	log strings.Builder
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
	s := &served{done: make(chan struct{})}
	s.cmd = exec.Command(e2e.Program.Path, serveArgs(args)...) // not CommandContext: clean-ups end it
	s.cmd.Env, s.cmd.Dir = append(e2e.Quiet(dir), "PATH="+os.Getenv("PATH")), dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // without clean-ups, as after a panic
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout = s.cmd.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	addr := make(chan string, 1)
	go func() {
		defer close(s.done)
		s.listen(out, addr)
		_ = s.cmd.Wait() // it is killed
	}()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	select {
	case s.addr = <-addr:
		return s, nil
	case <-s.done:
		return nil, fmt.Errorf("the hub ended: %v\n%s", s.cmd.ProcessState, s.said())
	case <-limit.C:
		s.kill()
		return nil, fmt.Errorf("the hub does not print its address:\n%s", s.said())
	}
}

// listen reads the output of the hub, and sends its address to addr.
func (s *served) listen(out io.Reader, addr chan<- string) {
	listening := regexp.MustCompile(`^listening on (127[.0-9]+:[0-9]+|\[::\]:[0-9]+)$`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			select {
			case addr <- found[1]:
			default: // it is known
			}
		}
		s.mu.Lock()
		s.log.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
	}
}

func (s *served) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// kill is kill -9, and waits for the end.
func (s *served) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
}
