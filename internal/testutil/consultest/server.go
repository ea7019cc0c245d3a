package consultest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is one Consul agent. Its methods fail the test that started it, so
// those that can fail belong on that test's goroutine; Kill, Pause, Resume and
// Log may be called from any.
type Server struct {
	Addr            string // host:port of the HTTP API
	SerfAddr        string // host:port for other agents' WithJoin
	Bin             string // the Consul binary, for commands such as "consul lock"
	Dir             string // the agent's own folder; its data, if it keeps any, is in Dir/data
	Config          string // a JSON file: what WithConfig gave. Change it, then Reload
	ManagementToken string // with WithACL, else ""

	t     testing.TB
	opts  options
	ports *ports

	mu   sync.Mutex
	proc *Process // nil before the first start
}

// Start runs an agent and waits until it is Ready (see WithServer for when it
// does not). Without options it is a server that keeps all in memory. It ends
// with the test, and shows the end of its log if the test failed.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := newServer(t, opts)
	if s.opts.client || s.opts.expect <= 1 {
		s.Ready()
	}
	return s
}

// newServer runs an agent and waits until it answers HTTP.
func newServer(t testing.TB, opts []Option) *Server {
	t.Helper()
	s := &Server{Bin: Binary(t), Dir: t.TempDir(), t: t, opts: newOptions(opts)}
	s.Config = filepath.Join(s.Dir, "config.json")
	s.ManagementToken = s.opts.token
	if err := writeJSON(s.Config, s.opts.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanUp)

	// Another process may take a port between the check and the agent's start.
	var err error
	for range 3 {
		if err = s.firstLaunch(); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Server) firstLaunch() error {
	if s.ports != nil {
		s.ports.release()
	}
	p, err := takePorts(s.t.Context(), s.opts.bind)
	if err != nil {
		return err
	}
	s.ports = p
	s.Addr = hostPort(s.opts.bind, p.http)
	s.SerfAddr = hostPort(s.opts.bind, p.serf)
	if err := writeJSON(s.basePath(), baseConfig(s.opts, p)); err != nil {
		return err
	}
	return s.launch()
}

func (s *Server) launch() error {
	before := len(s.Log())
	p, err := StartProcess(s.Bin, s.args(), agentEnv(os.Environ(), s.opts.env), s.Dir, s.logPath())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.proc = p
	s.mu.Unlock()
	err = s.poll("answer", s.answers)
	if err != nil && strings.Contains(s.Log()[before:], "address already in use") {
		return errPortTaken
	}
	return err
}

var errPortTaken = errors.New("every attempt found a port of the agent taken")

// Launch starts an agent that Stop or Kill ended, with the same addresses,
// configuration files and data. It waits until the agent answers, which is
// before there is a leader: see Ready.
func (s *Server) Launch() {
	s.t.Helper()
	if p := s.process(); p != nil && !p.Ended() {
		s.t.Fatalf("consul at %s is still running: Stop or Kill it before Launch", s.Addr)
	}
	if err := s.launch(); err != nil {
		s.t.Fatal(err)
	}
}

// Restart ends the agent, if it still runs, starts it again and waits until it
// is Ready.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Launch()
	s.Ready()
}

// Stop ends the agent as an init system would, with SIGTERM. A client leaves
// its cluster then; a server does not.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the agent with SIGKILL.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Pause freezes the agent with SIGSTOP: its connections stay open and nothing
// answers. It returns when the agent is stopped.
func (s *Server) Pause() {
	s.signal(syscall.SIGSTOP)
	p := s.process()
	for end := time.Now().Add(10 * time.Second); p != nil && !stopped(p.Cmd.Process.Pid) && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
}

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Log is everything that the agent has printed, over all its starts.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Sprintf("the log cannot be read: %v", err)
	}
	return string(b)
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "consul.log") }

func (s *Server) process() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

func (s *Server) end(sig syscall.Signal) {
	if p := s.process(); p != nil {
		p.End(sig)
	}
}

func (s *Server) signal(sig syscall.Signal) {
	p := s.process()
	if p == nil {
		return
	}
	if err := p.Cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("%v to consul at %s: %v", sig, s.Addr, err)
	}
}

func (s *Server) cleanUp() {
	s.Kill()
	if s.ports != nil {
		s.ports.release()
	}
	if s.t.Failed() {
		s.t.Logf("the end of the log of consul at %s, without what its clients were told:\n%s", s.Addr, lastLines(s.Log(), 40))
	}
}

// lastLines are the last n lines of a Consul's log. Requests that it refused are left out: a test that
// provokes them by the hundred would bury its own words.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "agent.http: Request error:") })
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// PID is the number of the agent's process, 0 before its first start. It changes with
// Launch and Restart.
func (s *Server) PID() int {
	p := s.process()
	if p == nil {
		return 0
	}
	return p.Cmd.Process.Pid
}
