//go:build linux

package fleet

import (
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// dead puts a receipt one that was sent so long ago, in truth: its node was right
// about the time then, and nothing came since.
func dead(x *e2e.Site, node, key string, ago time.Duration) {
	x.T.Helper()
	putReceipt(x, node, honest(x, node, key, sent(-ago), before))
}

// receiptsOfTheDead: who has been silent for longer than it promised does not count,
// and after a day it is not even named. The receipts are put in the order in which
// their nodes died. Taken out: the limit of silence; then the wait ends with exit 9.
func receiptsOfTheDead(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	dead(x, "days", "hosts", 48*time.Hour)
	dead(x, "minutes", "hosts", 5*time.Minute)
	// As long ago as it may be: it counts.
	dead(x, "late", "hosts", 40*time.Second)
	x.Publish("hosts", e2e.Version(2))
	putFleet(x, "hosts", 5)

	s := status(x, "hosts")
	if counts(s.Report) != "5 of 6, 1 outdated, 1 no_contact, 1 expired" || len(s.Clocks) > 0 {
		t.Errorf("%s: %+v", counts(s.Report), s)
	}
	if l := s.line("minutes"); l == nil || l.Outcome != outcome.NoContact || l.LastSeen < fleet.Millis(5*time.Minute) ||
		l.LastSeen > fleet.Millis(6*time.Minute) {
		t.Errorf("%+v", l)
	}
	if s.line("days") != nil || s.line("late") == nil {
		t.Errorf("%+v", s)
	}
	got := must(x, 0, "status", "-k", "hosts")
	if !tells(got.Stdout, "1 no contact, 1 expired", "\nNO CONTACT ") || !hasRow(got.Stdout, "minutes", "1") || hasRow(got.Stdout, "days") {
		t.Errorf("status says:\n%s", got.Stdout)
	}
	if s := status(x, "hosts", "--expire-after", "4m"); counts(s.Report) != "5 of 6, 1 outdated, 2 expired" {
		t.Errorf("%s", counts(s.Report))
	}
	if s := status(x, "hosts", "--expire-after", "72h"); counts(s.Report) != "5 of 6, 1 outdated, 2 no_contact" {
		t.Errorf("%s", counts(s.Report))
	}

	must(x, 0, "forget", "late")
	s = told(x, must(x, 0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "30s", "--json"))
	if counts(s.Report) != "5 of 5, 1 no_contact, 1 expired" {
		t.Errorf("%s", counts(s.Report))
	}
	// The control: one that is only behind is waited for.
	dead(x, "alive", "hosts", 0)
	must(x, 9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "1s")
}
