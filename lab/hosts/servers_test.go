package hosts

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
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

// The holder of the lock is killed: first consul lock alone, so that its consul-template
// goes on beside that of the new holder, and then all of it, as systemd does.
func TestTheHolderOfTheLockIsKilled(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 4, KeepOrphans: true})
	changed(t, f, f.Services[0], true)
	first := holder(t, f)
	second := orphaned(t, f, first)
	holderLost(t, f, second)
	final(t, f)
}

// orphaned kills consul lock alone, and returns the next holder. What both render is
// published once.
func orphaned(t *testing.T, f *Fleet, first *Server) *Server {
	t.Helper()
	first.Renderer.Restart = false
	main, pids := first.Renderer.PID(), first.Renderer.PIDs()
	kill(t, first.Renderer)
	// The orphan publishes, with or without a new holder.
	if v := changed(t, f, f.Services[1], false); !strings.Contains(v.By, first.Name) {
		t.Errorf("version %d was published by %s", v.Number, v.By)
	}
	second := holder(t, f, first)
	const rendering, running = "(runner) rendered ", "(runner) executing command "
	idle := func() error {
		for server, quiet := range map[*Server]int{first: 1, second: 2} {
			if pids := server.Renderer.PIDs(); len(pids) != quiet || count(t, rendering, server) != count(t, running, server) {
				return fmt.Errorf("%s runs %v", server.Name, pids)
			}
		}
		return nil
	}
	// Else what one has yet to publish comes after the next change.
	both := func(s *Service) {
		t.Helper()
		eventually(t, "both to render and to publish", func() error {
			return cmp.Or(RenderedBy(first, s), RenderedBy(second, s), idle())
		})
	}
	both(f.Services[1])

	before := f.Last()
	counts := map[*Server]int{first: count(t, rendering, first), second: count(t, rendering, second)}
	changes := 6
	if soak() {
		changes = 60
	}
	for i := range changes {
		s := f.Services[i%len(f.Services)]
		changed(t, f, s, !s.Addr().IsValid() || i%3 != 0)
		both(s)
	}
	for server, was := range counts {
		// Each has its own hands on each change, so that the two could have published it twice.
		if n := count(t, rendering, server) - was; n < changes {
			t.Errorf("%s rendered %d times, after %d changes: this was no test", server.Name, n, changes)
		}
	}
	if err := returned(f.Versions()); err != nil {
		t.Error(err)
	}
	if got := f.Last().Number - before.Number; got != uint64(changes) {
		t.Errorf("%d changes made %d versions", changes, got)
	}
	burst(t, f)
	eventually(t, "both to have published", idle)
	for _, pid := range pids {
		if pid != main {
			_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended by itself is no orphan any more
		}
	}
	first.Renderer.KeepOrphans, first.Renderer.Restart = false, true
	must(t, first.Renderer.Start())
	return second
}

// burst makes changes faster than two renderers are done with them. One may then publish
// what the other has left behind already: only one renderer keeps the order. In the end
// all is right, and no version is there twice in a row.
func burst(t *testing.T, f *Fleet) {
	t.Helper()
	before := len(f.Versions())
	for _, s := range f.Services[:30] {
		must(t, s.Set(t.Context(), true))
		proc.Sleep(t.Context(), 30*time.Millisecond)
	}
	published(t, f, f.Services[:30]...)
	now := f.Versions()
	t.Logf("30 changes with two renderers: %d versions; what came again: %v", len(now)-before, returned(now[before:]))
	arrived(t, f, f.Nodes...)
}

// holderLost kills the holder and its consul-template. What changes until there is another
// one is published by that.
func holderLost(t *testing.T, f *Fleet, was *Server) {
	t.Helper()
	before := len(f.Versions())
	was.Renderer.KeepOrphans, was.Renderer.Restart = false, false // all of it; or it could be the next one itself
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
}

// Where the rendered file is left in place, what changes during a stop is lost until
// something else changes: each consul-template finds its file current and runs nothing.
func TestAStopLosesAChangeWhereTheRenderedFileIsKept(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 2, KeepRendered: true})
	before := f.Last()
	stopped(t, f, f.Services[3])
	// One after the other renders it, is refused, and gives the lock away.
	eventually(t, "each server to be refused", func() error {
		for _, s := range f.Servers {
			if count(t, halted, s) == 0 {
				return fmt.Errorf("%s was not", s.Name)
			}
		}
		return nil
	})
	holder(t, f)
	operate(t, f, "resume", "-k", Key)
	for _, s := range f.Servers {
		if n := count(t, halted, s); n != 1 {
			t.Errorf("%s was refused %d times", s.Name, n)
		}
	}
	v := changed(t, f, f.Services[4], true)
	if err := In(v.Hosts, f.Services[3:5]...); err != nil || v.Number != before.Number+1 {
		t.Errorf("version %d was published after version %d: %v", v.Number, before.Number, err)
	}
	final(t, f)
}

// A bad version is out, and an operator undoes it as docs/undo.md has it.
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
		t.Errorf("diff does not show what is wrong: %s", out)
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
