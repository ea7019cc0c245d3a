package agent

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// hubTest runs a test in a bubble, with a site of some targets that follows hubs.
func hubTest(t *testing.T, targets int, names []string, test func(*testing.T, *site, map[string]*fakeHub)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := restingSite(t, dir, targets, 24*time.Hour)
		hubs := fakeHubs(s, names...)
		test(t, s, hubs)
		s.end()
	})
}

func (s *site) lock(i int, reason string) {
	s.t.Helper()
	f := hold.Freezer{Recorder: hold.Recorder{Store: s.store.Store, Layout: s.layout}, Host: "web-17", Replace: true}
	if _, err := f.Lock(s.t.Context(), s.config.Targets[i].File, reason, time.Time{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) unlock(i int) {
	s.t.Helper()
	f := hold.Freezer{Recorder: hold.Recorder{Store: s.store.Store, Layout: s.layout}, Host: "web-17"}
	if _, err := f.Unlock(s.t.Context(), s.config.Targets[i].File); err != nil {
		s.t.Fatal(err)
	}
}

// holds expects content in a file.
func (s *site) holds(i int, content string) {
	s.t.Helper()
	if got, err := os.ReadFile(s.config.Targets[i].File); err != nil || string(got) != content {
		s.t.Errorf("%s holds %q, want %q: %v", s.config.Targets[i].Key, got, content, err)
	}
}

// A first install, and later ones, come through the hub, without a request to the store or a question to the hub.
func TestHubInstalls(t *testing.T) {
	t.Parallel()
	hubTest(t, 3, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(50 * time.Millisecond)
		s.all(outcome.Converged, "one\n")
		pass(time.Minute)
		before := hubs["a:1"].asked() // by a periodic reconcile
		for _, key := range []kv.Key{"k0", "k1", "k2"} {
			s.send(key, "two\n")
			hubs["a:1"].push(key)
		}
		synctest.Wait()
		s.all(outcome.Converged, "two\n")
		if st := s.agent.Status(); st.Requests != 0 || hubs["a:1"].asked() != before || st.Hub.Addr != "a:1" || st.Hub.Direct {
			t.Errorf("%d requests, %d questions, %+v", st.Requests, hubs["a:1"].asked(), st.Hub)
		}
	})
}

// A snapshot that lay in a buffer while the process was stopped is old: the agent asks again, and sees the lock behind it.
func TestHubStoppedProcess(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Minute)
		link := hubs["a:1"].link(t)
		link.agent.hold()
		s.send("k0", "two\n")
		hubs["a:1"].push("k0")
		pass(3 * time.Second)
		s.lock(0, "maintenance")
		hubs["a:1"].push("k0")
		link.agent.release(1)
		pass(time.Millisecond) // the agent asks; the answer is behind the lock
		s.holds(0, "one\n")
		link.agent.release(-1)
		pass(time.Second)
		s.holds(0, "one\n")
		if got := s.agent.Status().Targets[0].Outcome; got != outcome.Locked {
			t.Errorf("it is %s", got)
		}
	})
}

// Without a hub, the agent asks the store after a while, and goes back.
func TestHubFallback(t *testing.T) {
	t.Parallel()
	hubTest(t, 2, []string{"a:1", "b:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Minute)
		hubs["a:1"].cut()
		hubs["b:1"].cut()
		s.send("k0", "two\n")
		pass(leastPatience - time.Second)
		if s.holds(0, "one\n"); s.store.waiting.Load() != 0 || s.agent.Status().Requests != 0 {
			t.Error("it asks the store too soon")
		}
		pass(mostPatience - leastPatience + 2*time.Second)
		s.holds(0, "two\n")
		if st := s.agent.Status(); !st.Hub.Direct || st.Hub.Addr != "" || s.store.waiting.Load() != 2 {
			t.Errorf("%+v, %d watches", st.Hub, s.store.waiting.Load())
		}
		hubs["b:1"].down.Store(false)
		pass(time.Minute)
		if st := s.agent.Status(); st.Hub.Direct || st.Hub.Addr != "b:1" || s.store.waiting.Load() != 0 {
			t.Errorf("%+v, %d watches", st.Hub, s.store.waiting.Load())
		}
		s.send("k1", "two\n")
		hubs["b:1"].push("k1")
		synctest.Wait()
		s.all(outcome.Converged, "two\n")
	})
}
