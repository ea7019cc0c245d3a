package install

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

const nobodyUID = 65534

// asNobody are the words before a command that make another user run it.
var asNobody = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}

// open lets another user reach the machine's folder and the program.
func open(t *testing.T, m *e2e.Machine) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test must run as root in CI")
		}
		t.Skip("SKIPPED: only root can become another user")
	}
	for _, dir := range []string{filepath.Dir(m.Dir), m.Dir, filepath.Dir(e2e.Program.Path)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func own(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobodyUID, nobodyUID); err != nil {
		t.Fatal(err)
	}
	return dir
}

// An agent, `out` of root and of another user, and a Consul watch that runs `out` work on
// one file. It is never torn, the exec runs for the bytes in place in the end, and nothing is left beside it.
func TestManyWritersOfOneFile(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	open(t, m)
	dir := own(t, m.Path("etc"))
	file, ran := filepath.Join(dir, "hosts"), m.File("ran", "")
	if err := os.Chmod(ran, 0o666); err != nil {
		t.Fatal(err)
	}
	exec := m.Script("note", `echo "$KVEXPRESS_SHA256" >>`+ran+"\n")
	args := func(state string) []string {
		return []string{"out", "-k", "hosts", "-f", file, "-l", "1", "-e", exec, "-c", "0644", "-o", fmt.Sprint(nobodyUID), "--state-dir", state}
	}
	versions := []string{m.Publish(e2e.Noise(60_000, 0))}
	m.Configure("agent", nil, e2e.Fields{"key": "hosts", "file": file, "min_lines": 1, "exec": exec, "mode": "0644", "owner": fmt.Sprint(nobodyUID)})
	m.Agent("agent")
	m.Start("watch", append([]string{consultest.Binary(t), "watch", "-http-addr=" + s.Server.Addr, "-type=key", "-key=kvexpress/hosts/checksum",
		e2e.Program.Path}, args(m.Path("watch.state"))...)...)

	var stop atomic.Bool
	var wg sync.WaitGroup
	var outs, torn, reads atomic.Int64
	for _, argv := range [][]string{
		append([]string{e2e.Program.Path}, args(m.Path("root.state"))...),
		append(append(slices.Clone(asNobody), e2e.Program.Path), args(own(t, m.Path("nobody.state")))...),
	} {
		wg.Go(func() {
			for !stop.Load() {
				outs.Add(1)
				if r := m.Exec(argv[0], argv[1:]); r.Code != 0 {
					t.Errorf("%q: exit %d, %s", argv, r.Code, r.Stderr)
				}
			}
		})
	}
	for i := range e2e.Times(400) {
		versions = append(versions, e2e.Noise(60_000+i%2*10_000, uint64(i+1))) // below and above the limit of a watched value
	}
	sums := map[string]bool{}
	for _, v := range versions {
		sums[e2e.Sum(v)] = true
	}
	wg.Go(func() {
		for !stop.Load() {
			if b, err := os.ReadFile(file); err == nil {
				if reads.Add(1); !sums[e2e.Sum(string(b))] {
					torn.Add(1)
				}
			}
		}
	})
	for _, v := range versions[1:] {
		m.Publish(v)
	}
	last := versions[len(versions)-1]
	e2e.Eventually(t, "the last version is in place", func() bool { return m.Read("etc/hosts") == last })
	e2e.Eventually(t, "the exec ran for it", func() bool { return strings.Contains(m.Read("ran"), e2e.Sum(last)) })
	stop.Store(true)
	wg.Wait()
	e2e.Eventually(t, "nothing is left beside it", func() bool {
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) == 1
	})
	t.Logf("%d outs, %d of %d reads torn", outs.Load(), torn.Load(), reads.Load())
	if torn.Load() > 0 || reads.Load() == 0 || outs.Load() == 0 {
		t.Errorf("%d outs, %d of %d reads torn", outs.Load(), torn.Load(), reads.Load())
	}
}

// Whatever the umask, the folders that are made can be used, and have the mode that they should.
func TestUmask(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	open(t, m)
	m.Publish(e2e.Text("one", 20))
	for user, before := range map[string][]string{"root": nil, "nobody": asNobody} {
		base := m.Path(user)
		if user == "nobody" {
			own(t, base)
		}
		for range 2 {
			argv := append(slices.Clone(before), "sh", "-c", `umask 0777; exec "$@"`, "sh", e2e.Program.Path, "out", "-k", "hosts", "-f",
				base+"/new/etc/hosts", "--state-dir", base+"/lib/state")
			if r := m.Exec(argv[0], argv[1:]); r.Code != 0 {
				t.Errorf("%s: exit %d, %s", user, r.Code, r.Stderr)
			}
		}
		for path, mode := range map[string]os.FileMode{"new": 0o755, "new/etc": 0o755, "new/etc/hosts": 0o640, "lib": 0o755, "lib/state": 0o700,
			"lib/state/targets": 0o700} {
			if got := e2e.Stat(t, filepath.Join(base, path)).Mode().Perm(); got != mode {
				t.Errorf("%s: %s has mode %v, want %v", user, path, got, mode)
			}
		}
	}
}
