package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
)

// full is a scanned fleet with one of everything.
func full(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.metrics.PerNode = true
	old := w.publish("hosts")
	w.reportAt("expired-1", time.Now(), old)
	pass(25 * time.Hour)
	w.reportAt("no-contact-1", time.Now(), old)
	pass(time.Hour)
	w.publish("hosts")
	pass(10 * time.Second)
	now := w.has("hosts")
	w.report("ok-1", now)
	w.report("ok-2", now)
	w.report("pending-1", in(now, outcome.Pending, 5*time.Second))
	for _, o := range outcome.Reported() {
		if o != outcome.Pending {
			w.report("is-"+string(o), in(old, o, 4*time.Second))
		}
	}
	lie := now
	lie.Version = 57
	w.report("lie-1", lie)
	w.report("odd-1", in(old, "made\nup", time.Second))
	w.put(w.layout.Node("damaged"), "{", 0)
	w.publish("motd")
	if _, err := w.freezer.Stop(t.Context(), "motd", "why"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.freezer.Lock(t.Context(), "/etc/hosts", "why", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.freezer.Lock(t.Context(), "/etc/over", "why", time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	w.put(w.layout.Manifest("newer"), `{"format":9}`, 0)
	w.put(w.layout.Checksum("newer"), strings.Repeat("0", 64), 0)
	pass(5 * time.Second)
	w.reportAt("clock-1", time.Now().Add(-time.Hour), now)
	w.report("ok-3", w.has("hosts"))
	w.mustScan()
	return w
}

// Prometheus reads it, each series is there once, and its linter finds no fault.
func TestMetricsAreWhatPrometheusWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, w := range map[string]*world{"full": full(t), "new": newWorld(t)} {
			problems, err := promlint.New(strings.NewReader(w.text())).Lint()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
			}
			for _, family := range w.scrape() {
				seen := map[string]bool{}
				for _, m := range family.GetMetric() {
					series := fmt.Sprint(m.GetLabel())
					if seen[series] {
						t.Errorf("%s: %s has %s twice", name, family.GetName(), series)
					}
					seen[series] = true
				}
			}
			if again := w.text(); again != w.text() {
				t.Errorf("%s: two scrapes differ", name)
			}
		}
	})
}

func TestMetricsSayHowTheFleetIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := full(t)
		pass(3 * time.Second)
		f := w.scrape()
		w.wants(f, 1, "up")
		w.wants(f, 3, "last_scan_age_seconds")
		w.wants(f, 21, "receipts")
		w.wants(f, 1, "receipts_unreadable")
		w.wants(f, 1, "locks") // the other is over
		w.wants(f, 1, "clocks_off")
		w.wants(f, 2, "keys")
		w.wants(f, 1, "keys_unreadable")
		w.wants(f, 0, "keys_left_out")
		const hosts, motd = "key=hosts", "key=motd"
		w.wants(f, 1, "published", hosts)
		w.wants(f, 2, "version", hosts)
		w.wants(f, float64(w.manifest["hosts"].PublishedAt.Unix()), "published_timestamp_seconds", hosts)
		many := map[outcome.Outcome]float64{outcome.Converged: 4, outcome.Outdated: 2, outcome.Unknown: 0} // the others: 1
		for _, row := range outcome.All() {
			want, ok := many[row.Outcome]
			if !ok {
				want = 1
			}
			w.wants(f, want, "nodes", hosts, "outcome="+string(row.Outcome))
			w.wants(f, 0, "nodes", motd, "outcome="+string(row.Outcome))
		}
		for _, p := range []string{"50", "90", "99", "100"} {
			w.wants(f, 0.2, "delivered_seconds", hosts, "percentile="+p)
			w.wants(f, 0.05, "on_node_seconds", hosts, "percentile="+p)
			w.lacks(f, "delivered_seconds", motd, "percentile="+p)
		}
		w.wants(f, 0, "stopped", hosts)
		w.wants(f, 0, "stopped_since_timestamp_seconds", hosts)
		w.wants(f, 1, "stopped", motd)
		w.wants(f, float64(w.manifest["motd"].PublishedAt.Unix()), "stopped_since_timestamp_seconds", motd)
		w.wants(f, 15, "oldest_straggler_seconds", hosts) // lie-1
		w.wants(f, 0, "oldest_straggler_seconds", motd)
		for node, o := range map[string]outcome.Outcome{"pending-1": outcome.Pending, "is-denied": outcome.Denied,
			"is-converged": outcome.Outdated, "lie-1": outcome.Invalid, "no-contact-1": outcome.NoContact} {
			w.wants(f, 1, "node_outcome", hosts, "node="+node, "outcome="+string(o))
		}
		for _, node := range []string{"ok-1", "expired-1"} {
			w.lacks(f, "node_outcome", "node="+node)
		}
		w.wants(f, 0, "node_outcomes_left_out")
	})
}

// Before the first scan, only up, age and time of the scan are there. Without --per-node no series names a node.
func TestMetricsOfAFewNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pass(7 * time.Second)
		f := w.scrape()
		w.wants(f, 0, "up")
		w.wants(f, 7, "last_scan_age_seconds")
		w.wants(f, 0, "last_scan_timestamp_seconds")
		w.lacks(f, "receipts")
		w.publish("hosts")
		w.report("web-1", in(w.has("hosts"), outcome.Pending, 0))
		w.mustScan()
		if text := w.text(); strings.Contains(text, "web-1") {
			t.Error(text)
		}
	})
}

// Text from outside is limited, and safe to print.
func TestMetricsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.metrics.PerNode = true
		old := w.publish("hosts")
		w.publish("hosts")
		for i := range fleet.MaxPerNode + 5 {
			w.report(fmt.Sprintf("web-%04d", i), old)
		}
		var many []fleet.Target
		for i := range fleet.MaxKeys + 10 {
			many = append(many, fleet.Target{By: fleet.ByAgent, Key: fmt.Sprintf("a/%d", i), Outcome: outcome.Converged})
		}
		for _, key := range []string{"", "../x", "a b", "/a/1", "x\x1b"} {
			many = append(many, fleet.Target{By: fleet.ByAgent, Key: key, Outcome: outcome.Converged})
		}
		w.report("aaa\x1b[2J", append(many, old)...)
		w.mustScan()
		f := w.scrape()
		w.wants(f, fleet.MaxKeys, "keys")
		w.wants(f, 11, "keys_left_out")
		w.wants(f, 2, "version", "key=hosts") // published keys come first
		named := 0
		for _, m := range f["kvexpress_fleet_node_outcome"].GetMetric() {
			named++
			for _, l := range m.GetLabel() {
				if strings.Contains(l.GetValue(), "\x1b") {
					t.Errorf("%q", l.GetValue())
				}
			}
		}
		left, _ := f.find("node_outcomes_left_out")
		if named != fleet.MaxPerNode || left != 5+1 { // none of keys that are not published
			t.Errorf("%d nodes are named, and %v left out", named, left)
		}
	})
}
