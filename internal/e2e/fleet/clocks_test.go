//go:build linux

package fleet

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"kvexpress/internal/e2e"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

const day = 24 * time.Hour

// sane fails the test if a clock has gone into any figure.
func sane(t *testing.T, s seen, least int) {
	t.Helper()
	for name, p := range map[string]fleet.Percentiles{"delivered": s.Delivered, "on the node": s.OnNode, "exec": s.Exec} {
		if time.Duration(p.Last) > 10*time.Second || p.P50 > p.Last || p.P50 < 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if s.Delivered.Count < least || s.Silent+s.Gone > 0 || s.ClocksUnsure {
		t.Errorf("delivered %+v, silent %d, gone %d, unsure %v", s.Delivered, s.Silent, s.Gone, s.ClocksUnsure)
	}
	for _, l := range s.Stragglers {
		if time.Duration(l.Heard) > time.Minute {
			t.Errorf("heard of %s %v ago", l.Node, time.Duration(l.Heard))
		}
	}
}

// off fails the test unless just these clocks are named, each by about so much.
func off(t *testing.T, s seen, want map[string]time.Duration) {
	t.Helper()
	named := map[string]time.Duration{}
	for _, c := range s.Clocks {
		who := c.Who
		if who == "node" {
			who = c.Node
		}
		named[who] = c.Off
	}
	if len(named) != len(want) {
		t.Errorf("named are the clocks %v, want %v", named, want)
	}
	for who, by := range want {
		if d := named[who] - by; d.Abs() > time.Minute || named[who] == 0 {
			t.Errorf("the clock of %s is off by %v, want %v", who, named[who], by)
		}
	}
}

// receiptsOfClocksADayOff: nodes whose clocks are a day off, among honest ones, are
// named, and change nothing else: they count, and all figures stay those of seconds.
// Taken out: that a clock which does not fit is not used; then the last delivery took
// a day.
func receiptsOfClocksADayOff(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	put := func(node string, by time.Duration) {
		t.Helper()
		putReceipt(x, node, honest(x, node, "hosts", sent(by), func(r *fleet.Receipt) {
			if by != 0 && node != "first" {
				r.Targets[0].Version, r.Targets[0].SHA256 = 1, e2e.Sum(e2e.Version(1))
			}
		}))
	}
	x.Publish("hosts", e2e.Version(2))
	put("first", -day)
	for i := range 4 {
		put(fmt.Sprintf("before-%d", i), 0)
	}
	put("ahead", day)
	put("behind", -day)
	for i := range 4 {
		put(fmt.Sprintf("after-%d", i), 0)
	}
	put("last", day)
	s := status(x, "hosts")
	if counts(s.Report) != "9 of 12, 3 behind" {
		t.Errorf("it is %s: %+v", counts(s.Report), s)
	}
	sane(t, s, 8)
	off(t, s, map[string]time.Duration{"first": -day, "ahead": day, "behind": -day, "last": day})
	for node, by := range map[string]time.Duration{"ahead": day, "behind": -day, "last": day} {
		if l := s.line(node); l == nil || l.Verdict != fleet.Behind || (l.ClockOff-by).Abs() > time.Minute {
			t.Errorf("%s: %+v", node, l)
		}
	}
	got := must(x, 0, "status", "-k", "hosts")
	if !regexp.MustCompile(`(?m)^  the clock of ahead is ahead by about (23h|1d).*; it is not used\n  the clock of behind is behind by about (23h|1d)`).MatchString(got.Stdout) {
		t.Errorf("status says:\n%s", got.Stdout)
	}
	// They arrive as all others do.
	for node, by := range map[string]time.Duration{"ahead": day, "behind": -day, "last": day} {
		putReceipt(x, node, honest(x, node, "hosts", sent(by)))
	}
	s = told(x, must(x, 0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "5s", "--json"))
	if counts(s.Report) != "12 of 12" {
		t.Errorf("it is %s", counts(s.Report))
	}
	sane(t, s, 8)
}

// receiptsOfAPublisherADayOff: when it was published is known by the receipts before
// and after it. A publisher that is behind contradicts nobody if no receipt from before
// it is left, so some nodes are behind here.
func receiptsOfAPublisherADayOff(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	for _, by := range []time.Duration{day, -day, 10_000 * day, -10_000 * day} {
		x.Publish("hosts", e2e.Version(1))
		for i := range 4 {
			putReceipt(x, fmt.Sprintf("before-%d", i), honest(x, fmt.Sprintf("before-%d", i), "hosts"))
		}
		x.Publish("hosts", e2e.Version(2))
		rewrite(x, "hosts", func(m *kv.Manifest) { m.PublishedAt = m.PublishedAt.Add(by) })
		putFleet(x, "hosts", 4)
		s := status(x, "hosts")
		if counts(s.Report) != "4 of 8, 4 behind" {
			t.Errorf("%v: it is %s", by, counts(s.Report))
		}
		sane(t, s, 0)
		off(t, s, map[string]time.Duration{"publisher": by})
	}
	// The control: with a clock that is right, nobody is named.
	x.Publish("hosts", e2e.Version(3))
	putFleet(x, "hosts", 4)
	s := status(x, "hosts")
	sane(t, s, 4)
	off(t, s, nil)
}

// lastOfAPublisherADayBehind: the one node that has yet to report is not taken for one
// of the day before. Taken out: that the publisher's clock has no say; then it is gone,
// and the wait ends with exit 0.
func lastOfAPublisherADayBehind(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	putReceipt(x, "straggler", honest(x, "straggler", "hosts"))
	x.Publish("hosts", e2e.Version(2))
	rewrite(x, "hosts", func(m *kv.Manifest) { m.PublishedAt = m.PublishedAt.Add(-day) })
	for nodes := range 6 {
		putFleet(x, "hosts", nodes)
		s := status(x, "hosts")
		if want := fmt.Sprintf("%d of %d, 1 behind", nodes, nodes+1); counts(s.Report) != want {
			t.Errorf("it is %s, want %s: %+v", counts(s.Report), want, s)
		}
		sane(t, s, 0)
		off(t, s, map[string]time.Duration{"publisher": -day})
	}
	must(x, 9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "1s")
}

// waitOfWhoIsADayAhead: to who publishes and waits with a clock that is ahead, all nodes
// but those that reported since look silent. Here, the nodes' are behind, which is the
// same. Taken out: that a wait goes by the clocks of the nodes, too; then the first node
// ends it.
func waitOfWhoIsADayAhead(t *testing.T, c *e2e.Cluster) {
	const by = -20 * time.Hour
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	putFleet(x, "hosts", 5, sent(by))
	x.Publish("hosts", e2e.Version(2))
	putFleet(x, "hosts", 1, sent(by))
	s := told(x, must(x, 9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "1s", "--json"))
	if s.Nodes != 5 || s.Arrived != 1 {
		t.Errorf("it is %s: %+v", counts(s.Report), s)
	}
	wait := []string{"in", "-k", "hosts", "-f", x.File("source", e2e.Version(2)), "--wait", "100%", "--timeout", "1s", "--json"}
	if s := told(x, must(x, 9, wait...)); counts(s.Wait.Fleet) != "1 of 5, 4 behind" {
		t.Errorf("it is %s", counts(s.Wait.Fleet))
	}
	// The control: who is silent to the others does not count.
	dead(x, "dead", "hosts", -by+5*time.Minute)
	putFleet(x, "hosts", 5, sent(by))
	if s := told(x, must(x, 0, wait...)); counts(s.Wait.Fleet) != "5 of 5, 1 silent" {
		t.Errorf("it is %s", counts(s.Wait.Fleet))
	}
}
