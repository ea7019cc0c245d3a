package hosts

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/lab/order"
	"kvexpress/lab/proc"
)

// tools are the programs of all fleets, or why there are none.
var tools struct {
	Tools
	err error
}

func TestMain(m *testing.M) {
	flag.Parse()
	if !testing.Short() {
		dir, err := os.MkdirTemp("", "kvexpress-lab-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = os.Chdir("../..") // the top of the source tree
		}
		if tools.err = err; err == nil {
			tools.Tools, tools.err = GetTools(context.Background(), dir)
		}
	}
	m.Run() // its result is the exit code when TestMain returns
}

// soak reports whether the troubles run at full length.
func soak() bool { return os.Getenv("KVEXPRESS_SOAK") == "1" }

// start runs a fleet whose nodes have the first version, and asks it. It ends with the test.
func start(t *testing.T, o Options) *Fleet {
	t.Helper()
	if testing.Short() {
		t.Skip("it runs Consul")
	}
	must(t, tools.err)
	o.Tools, o.Dir = tools.Tools, t.TempDir()
	began := time.Now()
	o.Say = func(line string) { t.Logf("%6.2f s  %s", time.Since(began).Seconds(), line) }
	f, err := New(t.Context(), o)
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil || len(f.Set.Left()) > 0 {
			t.Errorf("%v; the lab left processes: %v", err, f.Set.Left())
		}
	})
	t.Cleanup(func() {
		for _, s := range f.Servers {
			if t.Failed() {
				t.Logf("%s: %v\n%s\n%s", s.Name, s.Renderer.PIDs(), proc.Tail(s.Renderer.Log), proc.Tail(s.Consul.Log))
			}
		}
	})
	must(t, f.Start(t.Context()))
	f.Ask()
	return f
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until try returns nil.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	must(t, proc.Poll(t.Context(), what, try))
}

// changed changes the catalog, and waits until that is published.
func changed(t *testing.T, f *Fleet, s *Service, up bool) Published {
	t.Helper()
	must(t, s.Set(t.Context(), up))
	return published(t, f, s)
}

func published(t *testing.T, f *Fleet, services ...*Service) Published {
	t.Helper()
	v, err := f.Published(t.Context(), services...)
	must(t, err)
	return v
}

// answer waits until nodes agree with the catalog on a service.
func answer(t *testing.T, f *Fleet, s *Service, nodes ...*Node) {
	t.Helper()
	must(t, f.Answer(t.Context(), nodes, s))
}

// arrived waits until nodes answer all that was published last.
func arrived(t *testing.T, f *Fleet, nodes ...*Node) {
	t.Helper()
	must(t, waitEach(t.Context(), nodes, "to answer the last version", func(n *Node) error {
		last, latest := f.Last(), map[string]order.Answer{}
		for _, a := range f.Answers(n) {
			latest[a.Name] = a
		}
		for _, name := range f.names {
			if a := latest[name]; a.Addr != last.Hosts[name] || a.Asked.Before(last.Published) {
				return fmt.Errorf("%s is %v since %v, and in version %d it is %v", name, a.Addr, a.Asked, last.Number, last.Hosts[name])
			}
		}
		return nil
	}))
}

// operate runs a command as an operator does.
func operate(t *testing.T, f *Fleet, args ...string) string {
	t.Helper()
	out, err := f.Kvexpress(t.Context(), Operator, args...)
	must(t, err)
	return out
}

// in publishes a file by hand, and returns the exit code.
func in(t *testing.T, f *Fleet, content, minLines string) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, []byte(content), 0o600))
	_, err := f.Kvexpress(t.Context(), Publisher, "in", "-k", Key, "-f", path, "-l", minLines, "--sorted")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	must(t, err)
	return 0
}

// kill ends the process of a unit with SIGKILL, and waits for its end. With Restart it
// starts again.
func kill(t *testing.T, u *proc.Unit) {
	t.Helper()
	pid := u.PID()
	u.Signal(syscall.SIGKILL)
	eventually(t, "the end of "+u.Name, func() error {
		if pid != 0 && u.PID() == pid {
			return errors.New("it is still there")
		}
		return nil
	})
}

// count is how often the renderers of these servers have logged a text.
func count(t *testing.T, what string, servers ...*Server) int {
	t.Helper()
	n := 0
	for _, s := range servers {
		content, err := os.ReadFile(s.Renderer.Log)
		if !errors.Is(err, os.ErrNotExist) {
			must(t, err)
		}
		n += strings.Count(string(content), what)
	}
	return n
}

// more waits until the renderers have logged a text more often.
func more(t *testing.T, f *Fleet, what string, than int) {
	t.Helper()
	eventually(t, "a renderer to say "+what, func() error {
		if count(t, what, f.Servers...) == than {
			return errors.New("it did not")
		}
		return nil
	})
}

// holder waits for a server that renders.
func holder(t *testing.T, f *Fleet) (found *Server) {
	t.Helper()
	eventually(t, "a server to take the lock", func() error {
		if found = f.Holder(); found == nil {
			return errors.New("none has it")
		}
		return nil
	})
	return found
}

// leader waits for a server that leads and runs.
func leader(t *testing.T, f *Fleet) (found *Server) {
	t.Helper()
	eventually(t, "a leader", func() error {
		addr, err := f.leader(t.Context(), f.up().Addr)
		for _, s := range f.Servers {
			if addr == fmt.Sprintf("%s:%d", s.host, rpcPort) && s.Consul.PID() != 0 {
				found = s
				return nil
			}
		}
		return errors.Join(fmt.Errorf("it is %q", addr), err)
	})
	return found
}

// comeBack starts a server that was killed, and waits for all votes: Consul gives the server its
// vote only after 10 s, and until then cannot lose another one.
func comeBack(t *testing.T, f *Fleet, s *Server) {
	t.Helper()
	must(t, s.Consul.Start(), f.Ready(t.Context(), s))
	eventually(t, "all servers to have a vote", func() error {
		var raft struct{ Servers []struct{ Voter bool } }
		err := f.manage(t.Context(), http.MethodGet, "/v1/operator/raft/configuration", nil, &raft)
		voters := 0
		for _, s := range raft.Servers {
			if s.Voter {
				voters++
			}
		}
		if voters != len(f.Servers) {
			return errors.Join(fmt.Errorf("%d have", voters), err)
		}
		return nil
	})
}

// turn changes how a node gets its file, without a gap: the new way begins before the old
// one ends.
func turn(t *testing.T, n *Node, to Mode) {
	t.Helper()
	from := n.Mode
	n.Mode = to
	must(t, n.begin(t.Context(), to))
	if (from == Watch) != (to == Watch) {
		must(t, n.watch(to == Watch))
		n.Consul.Signal(syscall.SIGHUP) // as consul reload does
	}
	if from == Agent {
		must(t, n.Agent.Stop())
	}
}

// runOut runs kvexpress out on the node, as a person would, with the node's limit of lines or another.
func runOut(t *testing.T, n *Node, limit ...string) {
	t.Helper()
	argv := n.out()
	if len(limit) > 0 {
		argv[slices.Index(argv, "-l")+1] = limit[0]
	}
	_, err := n.fleet.Set.Run(t.Context(), nil, n.fleet.hostNamed(n.Name, argv...)...)
	must(t, err)
}

// same checks at once that all nodes answer as in a version, and that no other one was published.
func same(t *testing.T, f *Fleet, v Published) {
	t.Helper()
	arrived(t, f, f.Nodes...)
	for _, n := range f.Nodes {
		for _, s := range f.Services {
			if addr, err := n.Ask(s); err != nil || addr != v.Hosts[FQDN(s.Name)] {
				t.Errorf("%s says %v of %s, %v, and version %d %v", n.Name, addr, s.Name, err, v.Number, v.Hosts[FQDN(s.Name)])
			}
		}
	}
	if now := f.Last(); now.Number != v.Number {
		t.Errorf("version %d was published after version %d", now.Number, v.Number)
	}
}

// final waits until all is quiet, and compares all nodes with the last version:
// nothing is lost. Then it judges all that they ever answered: nothing was wrong, and no
// node went back.
func final(t *testing.T, f *Fleet) {
	t.Helper()
	published(t, f, f.Services...)
	arrived(t, f, f.Nodes...)
	if err := doubled(f.Versions()); err != nil {
		t.Error(err)
	}
	for _, v := range f.Judge() {
		if v.Answers == 0 || len(v.Faults) > 0 {
			t.Errorf("%s: %d answers, faults: %v", v.Node, v.Answers, v.Faults)
		}
	}
}

// doubled finds versions that are missing, and one that has the bytes of the one before it.
func doubled(versions []Published) error {
	for i := 1; i < len(versions); i++ {
		a, b := versions[i-1], versions[i]
		if b.Number != a.Number+1 || a.SHA256 == b.SHA256 {
			return fmt.Errorf("version %d, by %s, comes after version %d, by %s: %v", b.Number, b.By, a.Number, a.By, b.SHA256)
		}
	}
	return nil
}

// returned finds an address that had left and came again. No service has one twice, so
// something old was published.
func returned(versions []Published) error {
	type entry struct {
		name string
		addr netip.Addr
	}
	left := map[entry]uint64{}
	for i := 1; i < len(versions); i++ {
		for name, addr := range versions[i-1].Hosts {
			if versions[i].Hosts[name] != addr {
				left[entry{name, addr}] = versions[i].Number
			}
		}
		for name, addr := range versions[i].Hosts {
			if in, ok := left[entry{name, addr}]; ok {
				return fmt.Errorf("%s left with version %d, and is %v again in version %d", name, in, addr, versions[i].Number)
			}
		}
	}
	return nil
}
