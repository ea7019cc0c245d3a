//go:build linux

package lab_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// holder waits for a server that renders, and is none of those that are left out.
func holder(t *testing.T, s *lab.Scene, but ...*lab.Server) *lab.Server {
	t.Helper()
	var found *lab.Server
	eventually(t, "another server to take the lock", func() error {
		for _, server := range s.Servers {
			if !slices.Contains(but, server) && len(server.Renderer.PIDs()) > 1 {
				found = server
				return nil
			}
		}
		return errors.New("nobody has it")
	})
	return found
}

// The holder of the lock is killed: first consul lock alone, so that its consul-template
// goes on beside that of the new holder, and then all of it, as systemd does.
func TestTheHolderOfTheLockIsKilled(t *testing.T) {
	t.Parallel()
	s := fleet(t, lab.Options{Servers: 3, Nodes: 4, Services: 40, KeepOrphans: true})
	changeOne(t, s, s.Services[0], true)
	first := holder(t, s)
	second := orphaned(t, s, first)
	holderLost(t, s, second)
	final(t, s)
}

// orphaned kills consul lock alone, and returns the next holder. What both render is
// published once.
func orphaned(t *testing.T, s *lab.Scene, first *lab.Server) *lab.Server {
	t.Helper()
	first.Renderer.Restart = false
	main := first.Renderer.PID()
	pids := first.Renderer.PIDs()
	killed := time.Now()
	if err := first.Renderer.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The orphan publishes, with or without a new holder.
	if v := changeOne(t, s, s.Services[1], false); !strings.Contains(v.By, first.Name) {
		t.Errorf("version %d was published by %s", v.Number, v.By)
	}
	second := holder(t, s, first)
	t.Logf("%s took over from %s after %v", second.Name, first.Name, time.Since(killed).Round(time.Millisecond))
	both := []*lab.Server{first, second}
	eventually(t, "both to render", func() error { return rendered(s, s.Services[1], both...) })

	const rendering, running = "(runner) rendered ", "(runner) executing command "
	before, versions := last(s), len(s.Recorder.Versions())
	counts := map[*lab.Server]int{first: wrote(t, first, rendering), second: wrote(t, second, rendering)}
	changes := 6
	if soak() {
		changes = 60
	}
	for i := range changes {
		service := s.Services[i%len(s.Services)]
		changeOne(t, s, service, !service.Addr().IsValid() || i%3 != 0)
		eventually(t, "both to render", func() error { return rendered(s, service, both...) })
	}
	for _, server := range both {
		// Each has its own hands on each change, so that the two could have published it twice.
		if n := wrote(t, server, rendering) - counts[server]; n < changes {
			t.Errorf("%s rendered %d times, after %d changes: this was no test", server.Name, n, changes)
		}
		t.Logf("%s: rendered %d times, ran kvexpress %d times", server.Name, wrote(t, server, rendering), wrote(t, server, running))
	}
	if err := returned(s.Recorder.Versions()); err != nil {
		t.Error(err)
	}
	by := map[string]int{}
	for _, v := range s.Recorder.Versions()[versions:] {
		by[v.By]++
	}
	t.Logf("%d changes, published by %v", changes, by)
	if got := last(s).Number - before.Number; got != uint64(changes) {
		t.Errorf("%d changes made %d versions", changes, got)
	}
	burst(t, s)
	eventually(t, "both to have published", func() error {
		for server, quiet := range map[*lab.Server]int{first: 1, second: 2} {
			if pids := server.Renderer.PIDs(); len(pids) != quiet || wrote(t, server, rendering) != wrote(t, server, running) {
				return fmt.Errorf("%s runs %v", server.Name, pids)
			}
		}
		return nil
	})
	for _, pid := range pids {
		if pid != main {
			_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended by itself is no orphan any more
		}
	}
	first.Renderer.KeepOrphans, first.Renderer.Restart = false, true
	restart(t, first.Renderer)
	return second
}

// burst makes changes faster than two renderers are done with them. One may then publish
// what the other has left behind already: only one renderer keeps the order. In the end
// all is right, and nothing stands twice in a row.
func burst(t *testing.T, s *lab.Scene) {
	t.Helper()
	before := len(s.Recorder.Versions())
	for _, service := range s.Services[:30] {
		set(t, service, true)
		pass(t.Context(), 30*time.Millisecond)
	}
	published(t, s, s.Services[:30]...)
	now := s.Recorder.Versions()
	t.Logf("30 changes in a row with two renderers: %d versions; what was old came again: %v", len(now)-before, returned(now[before:]))
	arrived(t, s, s.Nodes...)
}

// rendered says nothing if the files of these servers have what the catalog has.
func rendered(s *lab.Scene, service *lab.Service, servers ...*lab.Server) error {
	for _, server := range servers {
		sights := s.Sights.Of(server.Rendered)
		if len(sights) == 0 {
			return fmt.Errorf("%s has rendered nothing", server.Name)
		}
		if err := stands(sights[len(sights)-1].Hosts, service); err != nil {
			return fmt.Errorf("on %s: %w", server.Name, err)
		}
	}
	return nil
}

// holderLost kills the holder and its consul-template. What changes until there is
// another one is published by that.
func holderLost(t *testing.T, s *lab.Scene, was *lab.Server) {
	t.Helper()
	before := len(s.Recorder.Versions())
	was.Renderer.KeepOrphans, was.Renderer.Restart = false, false // all of it; or it could be the next one itself
	killed := time.Now()
	if err := was.Renderer.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of all that it started", func() error {
		if pids := was.Renderer.PIDs(); len(pids) > 0 {
			return fmt.Errorf("%v are left", pids)
		}
		return nil
	})
	changed := s.Services[10:13]
	for i, service := range changed {
		set(t, service, i != 1)
	}
	now := published(t, s, changed...)
	t.Logf("version %d of %s came %v after the kill", now.Number, now.By, now.Seen.Sub(killed).Round(time.Millisecond))
	if err := returned(s.Recorder.Versions()[before:]); err != nil {
		t.Error(err)
	}
	for _, v := range s.Recorder.Versions()[before:] {
		if strings.Contains(v.By, was.Name) {
			t.Errorf("version %d is by %s, which was killed", v.Number, v.By)
		}
	}
}
