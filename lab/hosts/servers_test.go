package hosts

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kvexpress/lab/proc"
)

// The server that leads is killed while a change is on its way, again and again.
func TestTheLeaderIsKilledWhileItIsPublished(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 4})
	rounds := 3
	if soak() {
		rounds = 30
	}
	for i := range rounds {
		service := f.Services[i%len(f.Services)]
		killed := killLeader(t, f, service, i%2 == 0)
		if i%3 != 1 { // else it comes back at once
			published(t, f, service)
		}
		comeBack(t, f, killed)
		v := published(t, f, service)
		must(t, f.Settled(t.Context(), f.Services...))
		t.Logf("%s was killed; version %d by %s", killed.Name, v.Number, v.By)
	}
	final(t, f)
	if err := returned(f.Versions()); err != nil {
		t.Error(err)
	}
}

// killLeader changes the catalog, and kills the server that leads as soon as the change is
// rendered, or at any moment.
func killLeader(t *testing.T, f *Fleet, s *Service, whenRendered bool) *Server {
	t.Helper()
	killed := leader(t, f)
	began := time.Now()
	must(t, s.Set(t.Context(), true))
	if !whenRendered {
		proc.Sleep(t.Context(), rand.N(100*time.Millisecond))
	}
	for seen := !whenRendered; !seen && time.Since(began) < 10*time.Second; proc.Sleep(t.Context(), time.Millisecond) {
		for _, server := range f.Servers {
			seen = seen || RenderedBy(server, s) == nil
		}
	}
	kill(t, killed.Consul)
	return killed
}

// The holder of the lock and its consul-template are killed. The next holder publishes
// the changes in between.
func TestTheHolderOfTheLockIsKilled(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 4})
	changed(t, f, f.Services[0], true)
	was := holder(t, f)
	before := len(f.Versions())
	was.Renderer.Restart = false // it could be the next holder itself
	kill(t, was.Renderer)
	eventually(t, "the end of all that it started", func() error {
		if pids := was.Renderer.PIDs(); len(pids) > 0 {
			return fmt.Errorf("%v are left", pids)
		}
		return nil
	})
	for i, s := range f.Services[10:13] {
		must(t, s.Set(t.Context(), i != 1))
	}
	published(t, f, f.Services[10:13]...)
	if err := returned(f.Versions()[before:]); err != nil {
		t.Error(err)
	}
	for _, v := range f.Versions()[before:] {
		if strings.Contains(v.By, was.Name) {
			t.Errorf("version %d is by %s, which was killed", v.Number, v.By)
		}
	}
	final(t, f)
}

// A bad version is live, and an operator undoes it as in docs/undo.md.
func TestABadVersionIsUndone(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 10})
	good := changed(t, f, f.Services[0], true)
	arrived(t, f, f.Nodes...)
	const wrong = "192.0.2.1"
	text := "127.0.0.1 localhost\n"
	for _, s := range f.Services {
		text += wrong + " " + FQDN(s.Name) + "\n"
	}
	if code := in(t, f, text, "30"); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	is := func(sha string, above uint64) {
		t.Helper()
		eventually(t, "the next version", func() error {
			if v := f.Last(); v.Number <= above || sha != "" && v.SHA256 != sha {
				return fmt.Errorf("version %d is the last", v.Number)
			}
			return nil
		})
	}
	is("", good.Number)
	bad := f.Last()
	arrived(t, f, f.Nodes...) // it is in DNS everywhere

	run := func(role string, args ...string) string {
		t.Helper()
		out, err := f.Kvexpress(t.Context(), role, append(args, "-k", Key)...)
		must(t, err)
		return out
	}
	run(Operator, "stop", "-r", "wrong addresses since tonight")
	run(Operator, "status")
	run(Publisher, "history")
	if out := run(Publisher, "diff"); !strings.Contains(out, wrong) {
		t.Errorf("diff does not show the wrong address: %s", out)
	}
	run(Publisher, "rollback", "--ignore-stop", "-l", "30", "-m", "wrong addresses")
	is(good.SHA256, bad.Number)
	for _, n := range f.Nodes { // until the resume none has it
		if addr, err := n.Ask(f.Services[9]); err != nil || addr.String() != wrong {
			t.Errorf("%s is stopped, and says %v, %v", n.Name, addr, err)
		}
	}
	run(Operator, "resume")
	for _, n := range f.Nodes {
		if n.Mode == Watch { // it waits for the next version, or for a person
			runOut(t, n)
		}
	}
	t.Log(run(Operator, "status", "--wait", "100%", "--timeout", "30s"))
	arrived(t, f, f.Nodes...)
	final(t, f)
}
