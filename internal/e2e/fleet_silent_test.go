//go:build linux

package e2e

import (
	"testing"
	"time"

	"kvexpress/internal/fleet"
)

// dead puts a receipt one that was sent so long ago, in truth: its node was right
// about the time then, and nothing came since.
func (x *site) dead(node, key string, ago time.Duration) {
	x.t.Helper()
	x.report(node, x.honest(node, key, sent(-ago), func(r *fleet.Receipt) {
		r.Targets[0].Version, r.Targets[0].SHA256 = 1, sum(version(1))
	}))
}

// receiptsOfTheDead: who has been silent for longer than it promised does not count,
// and after a day it is not even named. The receipts are put in the order in which
// their nodes died. Taken out: the limit of silence; then the wait ends with exit 9.
func receiptsOfTheDead(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	x.publish("hosts", version(1))
	x.dead("days", "hosts", 48*time.Hour)
	x.dead("minutes", "hosts", 5*time.Minute)
	// As long ago as it may be: it counts.
	x.dead("late", "hosts", 40*time.Second)
	x.publish("hosts", version(2))
	x.fleet("hosts", 5)

	s := x.status("hosts")
	if counts(s.Report) != "5 of 6, 1 behind, 1 silent, 1 gone" || len(s.Clocks) > 0 {
		t.Errorf("%s: %+v", counts(s.Report), s)
	}
	if l := s.line("minutes"); l == nil || l.Verdict != fleet.Silent || l.Heard < fleet.Millis(5*time.Minute) || l.Heard > fleet.Millis(6*time.Minute) {
		t.Errorf("%+v", l)
	}
	if s.line("days") != nil || s.line("late") == nil {
		t.Errorf("%+v", s)
	}
	got := x.must(0, "status", "-k", "hosts")
	if !tells(got.stdout, "1 silent, 1 gone", "\nSILENT ") || !hasRow(got.stdout, "minutes", "1", "5m") || hasRow(got.stdout, "days") {
		t.Errorf("status says:\n%s", got.stdout)
	}
	if s := x.status("hosts", "--gone-after", "4m"); counts(s.Report) != "5 of 6, 1 behind, 2 gone" {
		t.Errorf("%s", counts(s.Report))
	}
	if s := x.status("hosts", "--gone-after", "72h"); counts(s.Report) != "5 of 6, 1 behind, 2 silent" {
		t.Errorf("%s", counts(s.Report))
	}

	x.must(0, "forget", "late")
	s = x.told(x.must(0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "5s", "--json"))
	if counts(s.Report) != "5 of 5, 1 silent, 1 gone" {
		t.Errorf("%s", counts(s.Report))
	}
	// The control: one that is only behind is waited for.
	x.dead("alive", "hosts", 0)
	x.must(9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "1s")
}
