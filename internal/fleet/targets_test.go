package fleet

import (
	"strings"
	"testing"
	"time"
)

// Each target of a node counts by itself, by who reported it and when.
func TestSilenceIsOfATarget(t *testing.T) {
	out := func(version uint64, since time.Duration) Target {
		return has(version).but(func(t *Target) { t.By, t.File, t.Since = ByOut, "/tmp/look", Millis(since) })
	}
	// Twenty minutes after the publish, as one who has had it since says.
	later := func() *scenario {
		s := newScenario()
		s.now = start().Add(20 * time.Minute)
		s.node(time.Second, true, has(5).but(func(t *Target) { t.Placed = &Placed{Age: Millis(20 * time.Minute)} }))
		return s
	}
	for name, tt := range map[string]struct {
		set  func(*scenario)
		want string // see counts
	}{
		"an out of long ago beside an agent": {func(s *scenario) { s.node(time.Minute, true, has(5), out(4, time.Hour)) }, "2: 2 0 0 0, 0 0 0"},
		"the control: of this very version": {func(s *scenario) {
			s.node(time.Minute, true, has(5), out(4, time.Minute).but(func(t *Target) { t.State = "refused" }))
		}, "2: 1 0 1 0, 0 0 0"},
		"an out where an agent was": {func(s *scenario) {
			n := s.node(time.Minute, true, out(5, 0))
			n.Receipt.Agent.Age = Millis(3 * time.Hour)
		}, "2: 2 0 0 0, 0 0 0"},
		"the control: the agent's own": {func(s *scenario) {
			n := s.node(time.Minute, true, has(5))
			n.Receipt.Agent.Age = Millis(3 * time.Hour)
		}, "1: 1 0 0 0, 1 0 0"},
		"an out that was refused after the publish": {func(s *scenario) {
			s.node(18*time.Minute, false, out(4, 0).but(func(t *Target) { t.State = "refused" }))
		}, "2: 1 0 1 0, 0 0 0"},
		"an out that was refused before it": {func(s *scenario) {
			s.node(30*time.Minute, false, out(4, 0).but(func(t *Target) { t.State = "refused" }))
		}, "1: 1 0 0 0, 1 0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := later()
			tt.set(s)
			if got := counts(s.examine()); got != tt.want {
				t.Errorf("counts %s, want %s", got, tt.want)
			}
		})
	}
}

// Of several files the one that took longest is what it took, and a straggler says which.
func TestFilesOfOneKey(t *testing.T) {
	s := newScenario()
	placed := func(file string, ago time.Duration) Target {
		return has(5).but(func(t *Target) { t.File, t.Placed = file, &Placed{Age: Millis(ago)} })
	}
	s.node(time.Second, true, placed("/a", 58*time.Second), placed("/b", 2*time.Second))
	s.node(time.Second, true, placed("/b", 3*time.Second), placed("/a", 58*time.Second))
	r := s.examine()
	if last := time.Duration(r.Delivered.Last); r.Delivered.Count != 2 || last != 57*time.Second || r.Delivered.P50 < Millis(50*time.Second) {
		t.Errorf("delivered %+v", r.Delivered)
	}
	s.node(time.Second, true, has(5), has(4).but(func(t *Target) { t.File, t.Detail = "/b", "locked" }))
	if r := s.examine(); len(r.Stragglers) != 1 || r.Stragglers[0].Detail != "/b: locked" {
		t.Errorf("stragglers %+v", r.Stragglers)
	}
}

// A store that went back makes nobody a liar.
func TestOlderIsNoLie(t *testing.T) {
	s := newScenario()
	s.node(time.Second, true, has(6).but(func(t *Target) { t.State, t.Detail = "older", "it went back" }))
	s.node(time.Second, true, has(6))
	r := s.examine()
	if counts(r) != "2: 0 0 1 1, 0 0 0" || r.Stragglers[0].Detail != "it went back" || !strings.Contains(r.Stragglers[1].Detail, "newest is 5") {
		t.Errorf("%s, %+v", counts(r), r.Stragglers)
	}
}

// What is said of a file that was held back keeps what is known of its exec.
func TestCarryKeepsWhatIsOwed(t *testing.T) {
	before := has(5).but(func(t *Target) { t.State, t.Owed, t.Exec = "owed", true, &Exec{Exit: 3} })
	for state, want := range map[string]bool{"stopped": true, "locked": true, "failed": true, "denied": true, "current": false} {
		now := has(5).but(func(t *Target) { t.State, t.Version, t.Lineage = state, 0, "" })
		carry(&now, before)
		if now.Owed != want || now.Version != 5 || want != (now.Exec != nil) {
			t.Errorf("%s: %+v", state, now)
		}
	}
	other := has(4).but(func(t *Target) { t.State = "stopped" })
	if carry(&other, before); other.Owed {
		t.Errorf("other bytes: %+v", other)
	}
}

// A time in a state goes on after the receipt was sent.
func TestTimeInAState(t *testing.T) {
	s := newScenario()
	s.node(40*time.Second, true, has(4).but(func(t *Target) { t.State, t.Since = "failed", Millis(20*time.Second) }))
	if r := s.examine(); time.Duration(r.Stragglers[0].Since) != time.Minute {
		t.Errorf("%+v", r.Stragglers)
	}
}
