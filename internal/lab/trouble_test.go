//go:build linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/lab"
	"kvexpress/internal/lab/order"
)

// soak tells whether the troubles are to be met at full length.
func soak() bool { return os.Getenv("KVEXPRESS_SOAK") == "1" }

// patience is for what a fleet in trouble has to do: a lock may be held for 45 s by a
// dead one, and a watch that has failed several times asks again after up to 3 minutes.
const patience = 4 * time.Minute

// fleet is a lab that tells what its renderers said when the test has failed.
func fleet(t *testing.T, o lab.Options) *lab.Scene {
	t.Helper()
	s := start(t, o)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, server := range s.Servers {
			for _, u := range []*lab.Unit{server.Renderer, server.Consul} {
				content, err := os.ReadFile(u.Log)
				lines := strings.Split(strings.TrimSpace(string(content)), "\n")
				t.Logf("%s, %v, %v: the end of its log, %v:\n%s", u.Name, u.PID(), u.PIDs(), err, strings.Join(lines[max(0, len(lines)-25):], "\n"))
			}
		}
	})
	return s
}

// eventually waits until try returns nil.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("waiting for %s: %v", what, err)
		case <-limit.C:
			t.Fatalf("waited in vain for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

// pass lets time go by, where that is the trouble and nothing is waited for.
func pass(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// last is the version that was published last.
func last(s *lab.Scene) lab.Published {
	versions := s.Recorder.Versions()
	return versions[len(versions)-1]
}

// set changes the catalog. Consul's agent may have to wait for a leader to know the token.
func set(t *testing.T, service *lab.Service, up bool) {
	t.Helper()
	eventually(t, "a change of "+service.Name, func() error {
		if up {
			return service.Register(t.Context())
		}
		return service.Deregister(t.Context())
	})
}

// stands says nothing if the hosts have what the catalog has of these services.
func stands(hosts map[string]netip.Addr, services ...*lab.Service) error {
	for _, service := range services {
		if got, want := hosts[lab.FQDN(service.Name)], service.Addr(); got != want {
			return fmt.Errorf("%s is %v, and the catalog has %v", service.Name, got, want)
		}
	}
	return nil
}

// published waits until a version has what the catalog has of these services.
func published(t *testing.T, s *lab.Scene, services ...*lab.Service) lab.Published {
	t.Helper()
	eventually(t, "a version with the changes", func() error { return stands(last(s).Hosts, services...) })
	return last(s)
}

// changeOne changes the catalog, and waits until that is published.
func changeOne(t *testing.T, s *lab.Scene, service *lab.Service, up bool) lab.Published {
	t.Helper()
	set(t, service, up)
	return published(t, s, service)
}

// answers waits until a node answers what the catalog has of these services.
func answers(t *testing.T, n *lab.Node, services ...*lab.Service) {
	t.Helper()
	eventually(t, n.Name+" to answer what the catalog has", func() error {
		for _, service := range services {
			answer, err := n.Ask(t.Context(), service.Name)
			if err != nil {
				return err
			}
			hosts := map[string]netip.Addr{}
			if answer.Exists {
				hosts[lab.FQDN(service.Name)] = answer.Addrs[0]
			}
			if err := stands(hosts, service); err != nil {
				return err
			}
		}
		return nil
	})
}

// wrote counts how often what rendered on a server has said a thing.
func wrote(t *testing.T, server *lab.Server, what string) int {
	t.Helper()
	content, err := os.ReadFile(server.Renderer.Log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(content), what)
}

// wroteAll is that of all servers.
func wroteAll(t *testing.T, s *lab.Scene, what string) int {
	t.Helper()
	count := 0
	for _, server := range s.Servers {
		count += wrote(t, server, what)
	}
	return count
}

// final waits until all is quiet, and holds all nodes against what was published last:
// nothing is lost. Then it judges all that they ever answered.
func final(t *testing.T, s *lab.Scene) {
	t.Helper()
	published(t, s, s.Services...)
	arrived(t, s, s.Nodes...)
	if err := doubled(s.Recorder.Versions()); err != nil {
		t.Error(err)
	}
	judge(t, s)
}

// arrived waits until nodes answer what was published last, all of it.
func arrived(t *testing.T, s *lab.Scene, nodes ...*lab.Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, n.Name+" to answer what was published last", func() error {
			list, _, _ := s.Sampler.Answers(n)
			faults := order.Final(last(s).Version, s.Sampler.Names(), list)
			if len(faults) == 0 {
				return nil
			}
			return fmt.Errorf("%d names are wrong: %s", len(faults), faults[0].Why)
		})
	}
}

// doubled finds versions that are missing, and one that has the bytes of the one before
// it.
func doubled(versions []lab.Published) error {
	for i := 1; i < len(versions); i++ {
		a, b := versions[i-1], versions[i]
		if b.Number != a.Number+1 {
			return fmt.Errorf("version %d comes after version %d", b.Number, a.Number)
		}
		if a.SHA256 == b.SHA256 {
			return fmt.Errorf("version %d, by %s, has the same bytes as version %d, by %s", b.Number, b.By, a.Number, a.By)
		}
	}
	return nil
}

// returned finds an address that had left and came again. No service has one twice, so
// somebody published what was old.
func returned(versions []lab.Published) error {
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
				return fmt.Errorf("%s has left with version %d, and is %v again in version %d", name, in, addr, versions[i].Number)
			}
		}
	}
	return nil
}

// What finds versions that are doubled, missing or old must not overlook them.
func TestVersionsThatAreDoubledMissingOrOldAreFound(t *testing.T) {
	t.Parallel()
	version := func(number uint64, addr string) lab.Published {
		return lab.Published{
			Version: order.Version{Number: number, Hosts: map[string]netip.Addr{"web": netip.MustParseAddr(addr)}},
			SHA256:  addr,
		}
	}
	good := []lab.Published{version(1, "10.0.0.1"), version(2, "10.0.0.2"), version(3, "10.0.0.3")}
	if err := errors.Join(doubled(good), returned(good)); err != nil {
		t.Error(err)
	}
	if doubled(append(good, version(4, "10.0.0.3"))) == nil {
		t.Error("a doubled version was not found")
	}
	if doubled(append(good, version(5, "10.0.0.4"))) == nil {
		t.Error("a missing version was not found")
	}
	if returned(append(good, version(4, "10.0.0.2"))) == nil {
		t.Error("an old version was not found")
	}
}

// restart starts what was killed.
func restart(t *testing.T, u *lab.Unit) {
	t.Helper()
	eventually(t, u.Name+" to start", func() error {
		if u.PID() != 0 {
			return nil
		}
		return u.Start()
	})
}

// code is the exit code of a command of kvexpress; -1: it was none.
func code(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*lab.CommandError](err); ok {
		return exit.Code
	}
	return -1
}
