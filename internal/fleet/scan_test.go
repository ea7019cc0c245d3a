package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// No rights are never "nothing is published" or "no node".
func TestScanWithoutRights(t *testing.T) {
	for _, below := range []string{"kvexpress/", "kvexpress-nodes/", "kvexpress/locks/"} {
		locks := strings.HasSuffix(below, "/locks/")
		w := newWorld(t)
		w.scanner = fleet.NewScanner(embedded.New(embedded.Deny(func(path string, write bool) bool {
			return !write && strings.HasPrefix(path, below) && locks == strings.HasPrefix(path, "kvexpress/locks/")
		})), w.layout, nil, 0)
		w.scan()
		if err := w.metrics.Failed; !errors.Is(err, kv.ErrDenied) || !strings.Contains(err.Error(), below) {
			t.Errorf("%s: %v", below, err)
		}
		f := w.scrape()
		w.wants(f, 0, "up")
		w.lacks(f, "keys")
	}
}

// The time for which a node has been missing.
func TestOldestStraggler(t *testing.T) {
	const oldest, hosts = "oldest_straggler_seconds", "key=hosts"
	for name, test := range map[string]func(*world){
		"a node that gets none of many versions": func(w *world) {
			stuck := w.publish("hosts")
			for range 60 {
				pass(30 * time.Second)
				w.report("ok", w.publish("hosts"))
				w.report("stuck", in(stuck, outcome.Converged, time.Second))
				w.mustScan()
			}
			w.wants(w.scrape(), 59*30, oldest, hosts)
			w.report("stuck", w.has("hosts"))
			w.mustScan()
			w.wants(w.scrape(), 0, oldest, hosts)
			pass(time.Second)
			w.publish("hosts")
			pass(time.Second)
			w.mustScan()
			if got, _ := w.scrape().find(oldest, hosts); got > 15 {
				w.t.Errorf("after it was well, it has been missing for %v s", got)
			}
		},
		"a new node is not as late as the version is old": func(w *world) {
			w.report("ok", w.publish("hosts"))
			pass(72 * time.Hour)
			w.report("ok", w.has("hosts"))
			w.report("new", in(fullOf(w), outcome.Starting, 2*time.Second))
			w.mustScan()
			w.wants(w.scrape(), 2, oldest, hosts)
		},
		"an outdated node, since the publish": func(w *world) {
			old := w.publish("hosts")
			pass(72 * time.Hour)
			w.publish("hosts")
			pass(20 * time.Second)
			w.report("late", in(old, outcome.Converged, 72*time.Hour))
			w.mustScan()
			w.wants(w.scrape(), 20, oldest, hosts)
		},
		"who has been in trouble before": func(w *world) {
			old := w.publish("hosts")
			w.publish("hosts")
			w.report("late", in(old, outcome.Refused, time.Hour))
			w.mustScan()
			w.wants(w.scrape(), 3600, oldest, hosts)
		},
		"who is held back on purpose": func(w *world) {
			old := w.publish("hosts")
			w.publish("hosts")
			for _, o := range []outcome.Outcome{outcome.Stopped, outcome.Locked, outcome.Waiting} {
				w.report("is-"+string(o), in(old, o, time.Hour))
			}
			pass(20 * time.Second)
			w.mustScan()
			f := w.scrape()
			w.wants(f, 0, oldest, hosts)
			w.wants(f, 1, "nodes", hosts, "outcome=locked")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(newWorld(t)) })
		})
	}
}

// fullOf is a target without anything in place.
func fullOf(w *world) (t fleet.Target) {
	t = w.has("hosts")
	t.Lineage, t.Version, t.SHA256, t.Placed = "", 0, "", nil
	return t
}
