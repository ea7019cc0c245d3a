package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
)

// A publisher is killed with SIGKILL before each of its requests. Nodes see
// nothing of it, and the next publish goes on as if nothing had been.
func TestKilledPublisher(t *testing.T) {
	t.Parallel()
	const small, large = 2_000, kv.MaxStored // a large one's history goes ahead, in a transaction of its own
	s, _ := start(t)
	for _, c := range []struct {
		name    string
		size    int
		managed uint64 // versions that stand before
		steps   []publish.Step
	}{
		{"a new key", small, 0, []publish.Step{publish.StepRead, publish.StepNested, publish.StepHistoryList, publish.StepFlip}},
		{"a large new key", large, 0, []publish.Step{publish.StepHistoryWrite, publish.StepFlip}},
		{"the next version", small, 2, []publish.Step{publish.StepRead, publish.StepFlip}},
		{"a large next version", large, 2, []publish.Step{publish.StepRead, publish.StepHistoryWrite, publish.StepFlip}},
		{"a large version with history to prune", large, 12, []publish.Step{publish.StepHistoryWrite, publish.StepFlip}},
	} {
		for _, step := range c.steps {
			t.Run(c.name+", before "+string(step), func(t *testing.T) {
				s := s.on(t)
				m := newMachine(t, s.server.Addr)
				key := strings.ReplaceAll(fmt.Sprintf("%s-%s", c.name, step), " ", "-")
				key = strings.ReplaceAll(key, ",", "")
				killedPublisher(t, s, m, key, step, c.size, c.managed)
			})
		}
	}
}

func killedPublisher(t *testing.T, s *store, m *machine, key string, step publish.Step, size int, managed uint64) {
	content := func(version uint64) string { return noise(size, version) }
	in := func(c string) { t.Helper(); m.ok("in", "-k", key, "-f", m.file("source", c)) }
	for v := uint64(1); v <= managed; v++ {
		in(content(v))
	}
	visible := func() string {
		var b strings.Builder
		for _, row := range []string{"data", "checksum", "manifest", "stop"} {
			if r := s.get("kvexpress/" + key + "/" + row); r != nil {
				fmt.Fprintf(&b, "%s %s %d\n", row, sum(string(r.Value)), r.ModifyIndex)
			}
		}
		return b.String()
	}
	before := visible()
	lost := content(1000)
	m.file("source", lost)
	r := m.with(dieAtEnv+"="+string(step)).exec(os.Args[0], []string{"in", "-k", key, "-f", m.path("source")})
	if r.code != -1 {
		t.Fatalf("the publisher was not killed before %q: exit %d\n%s%s", step, r.code, r.stdout, r.stderr)
	}
	if after := visible(); after != before {
		t.Fatalf("the killed publisher left something to see. Before:\n%safter:\n%s", before, after)
	}

	// The next content takes the version, and its place in history.
	next := content(1001)
	in(next)
	check := func(version uint64, want string) {
		t.Helper()
		if now := s.manifest("kvexpress/" + key + "/manifest"); now.Version != version || now.SHA256 != sum(want) {
			t.Errorf("version %d with %s stands, want version %d with %s", now.Version, now.SHA256, version, sum(want))
		}
		past := fmt.Sprintf("kvexpress/.history/%s/%d/", key, version)
		if s.value(past+"manifest") != s.value("kvexpress/"+key+"/manifest") {
			t.Errorf("the history of version %d is of another", version)
		}
		m.ok("out", "-k", key, "-f", m.path("hosts"))
		m.holds("hosts", want)
	}
	// A new key that left history is taken for one that was deleted: its number
	// is not used again, so that no node takes it for older than what it has.
	first := managed + 1
	if managed == 0 && step == publish.StepFlip && size == kv.MaxStored {
		first = 2
	}
	check(first, next)
	in(lost) // and the lost one, sent again, the one after that
	check(first+1, lost)
}

// The publisher is killed when Consul has its write and it does not know it: the
// same command again finds its work done.
func TestKilledAfterTheWrite(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for name, size := range map[string]int{"small": 2_000, "large": kv.MaxStored} {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			key := "hosts-" + name
			addr := newProxy(t, s, func(e *exchange) {
				if !e.writes("kvexpress/" + key + "/manifest") {
					e.pass()
					return
				}
				e.applied()
				e.hangUp()
			})
			m := newMachine(t, s.server.Addr)
			m.file("source", noise(size, 1))
			// The first thing it does about an unknown outcome is to ask.
			killed := newMachine(t, addr, dieAtEnv+"="+string(publish.StepResolve))
			if r := killed.exec(os.Args[0], []string{"in", "-k", key, "-f", m.path("source")}); r.code != -1 {
				t.Fatalf("the publisher was not killed: exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			if got := m.ok("in", "-k", key, "-f", m.path("source")); !strings.Contains(got, "unchanged, version 1 stands") {
				t.Errorf("the same again says %q", got)
			}
			m.ok("out", "-k", key, "-f", m.path("hosts"))
			m.holds("hosts", noise(size, 1))
		})
	}
}

// A publisher whose history goes ahead of it is overtaken: a second one writes
// history for the same version, and dies. What the first then publishes has a
// history of its own.
func TestHistoryIsOfTheWinner(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	second := m.with(dieAtEnv + "=" + string(publish.StepFlip))
	overtaken := false
	addr := newProxy(t, s, func(e *exchange) {
		if e.writes("kvexpress/hosts/manifest") && !overtaken {
			overtaken = true
			r := second.exec(os.Args[0], []string{"in", "-k", "hosts", "-f", m.file("second", noise(kv.MaxStored, 2))})
			if r.code != -1 || s.manifest("kvexpress/.history/hosts/2/manifest").SHA256 != sum(noise(kv.MaxStored, 2)) {
				t.Errorf("the second publisher was not killed after its history: exit %d %s", r.code, r.stderr)
			}
		}
		e.pass()
	})
	m.ok("in", "-k", "hosts", "-f", m.file("first", text("before", 20)))
	m.with("CONSUL_HTTP_ADDR="+addr).ok("in", "-k", "hosts", "-f", m.file("first", noise(kv.MaxStored, 1)))
	if !overtaken {
		t.Fatal("nobody was overtaken: this test sees nothing")
	}
	now, past := s.manifest("kvexpress/hosts/manifest"), s.manifest("kvexpress/.history/hosts/2/manifest")
	if now.Version != 2 || now.SHA256 != sum(noise(kv.MaxStored, 1)) || past != now {
		t.Errorf("%+v stands, and its history has %+v", now, past)
	}
}
