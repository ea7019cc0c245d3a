// Package consultest runs real Consul agents for tests: one in memory, one
// with a data folder that survives a kill, or a cluster. Each has an address of
// the loopback interface of its own.
//
// It owns finding the binary, configuration, waiting until an agent is
// of use, and ending every process it started. It is a leaf: it speaks HTTP
// with the standard library, imports nothing of this module, and only tests
// import it.
//
// A test that needs Consul and finds no binary fails. Only -short skips it, and not
// in CI.
package consultest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Server is one Consul agent. Its methods fail the test that started it, so
// those that can fail belong on that test's goroutine; Kill, Pause, Resume and
// Log may be called from any.
type Server struct {
	Addr            string // host:port of the HTTP API
	Bin             string // the Consul binary, for commands such as "consul lock"
	Dir             string // the agent's own folder; its data, if it keeps any, is in Dir/data
	Config          string // a JSON file: what WithConfig gave. Change it, then Reload
	ManagementToken string // with WithACL, else ""

	t    testing.TB
	opts options
	host string
	proc atomic.Pointer[Process] // nil before the first start
}

// Start runs an agent and waits until it is Ready (see WithServer for when it
// does not). Without options it is a server that keeps all in memory. It ends
// with the test, and shows the end of its log if the test failed.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := &Server{Bin: Binary(t), Dir: t.TempDir(), t: t, host: newHost(), opts: options{config: map[string]any{}}}
	for _, opt := range opts {
		opt(&s.opts)
	}
	s.Addr = net.JoinHostPort(s.host, strconv.Itoa(httpPort))
	s.Config = filepath.Join(s.Dir, "config.json")
	s.ManagementToken = s.opts.token
	if err := errors.Join(writeJSON(s.basePath(), s.baseConfig()), writeJSON(s.Config, s.opts.config)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanUp)
	s.Launch()
	if s.opts.expect <= 1 {
		s.Ready()
	}
	return s
}

// Cluster runs so many servers, which have joined each other, and waits until each is Ready. All
// keep their data.
func Cluster(t testing.TB, servers int, opts ...Option) []*Server {
	t.Helper()
	var all []*Server
	var hosts []string
	for range servers {
		join := slices.Clone(hosts)
		s := Start(t, append(slices.Clone(opts), WithServer(servers), func(o *options) { o.join = join })...)
		all, hosts = append(all, s), append(hosts, s.host)
	}
	for _, s := range all {
		s.Ready()
		// Each joined those before it. A restarted one must find the later ones, too.
		s.opts.join = slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return host == s.host })
	}
	return all
}

// Launch starts an agent that Stop or Kill ended, with the same address,
// configuration files and data. It waits until the agent answers, which is
// before there is a leader: see Ready.
func (s *Server) Launch() {
	s.t.Helper()
	if p := s.proc.Load(); p != nil && !p.Ended() {
		s.t.Fatalf("consul at %s is still running: Stop or Kill it before Launch", s.Addr)
	}
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "CONSUL_") })
	p, err := StartProcess(s.Bin, s.args(), append(env, s.opts.env...), s.Dir, s.logPath())
	if err == nil {
		s.proc.Store(p)
		err = s.poll("answer", s.answers)
	}
	if err != nil {
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
func (s *Server) Stop() { s.proc.Load().End(syscall.SIGTERM) }

// Kill ends the agent with SIGKILL.
func (s *Server) Kill() { s.proc.Load().End(syscall.SIGKILL) }

// Pause freezes the agent with SIGSTOP: its connections stay open and nothing
// answers. It returns when the agent is stopped.
func (s *Server) Pause() {
	s.signal(syscall.SIGSTOP)
	for end := time.Now().Add(10 * time.Second); !stopped(s.PID()) && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
}

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// PID is the number of the agent's process. It changes with Launch and Restart.
func (s *Server) PID() int { return s.proc.Load().Cmd.Process.Pid }

// Log is everything that the agent has printed, over all its starts.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Sprintf("the log cannot be read: %v", err)
	}
	return string(b)
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "consul.log") }

func (s *Server) signal(sig syscall.Signal) {
	if err := s.proc.Load().Cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("%v to consul at %s: %v", sig, s.Addr, err)
	}
}

func (s *Server) cleanUp() {
	if s.proc.Load() != nil {
		s.Kill()
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
