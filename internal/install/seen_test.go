package install_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

// seen delivers with data that a watch brought, and counts requests.
func (n *node) seen(d *install.Installer, data []byte, want install.Action) (reads, bulk int) {
	n.t.Helper()
	c := &counted{Store: n.store}
	d.Store = c
	if r, err := d.InstallData(context.Background(), n.target, data, nil); err != nil || r.Action != want {
		n.t.Fatalf("%q, %v; want %q", r.Action, err, want)
	}
	return c.asked(n.layout.Data(hosts))
}

// The caller's data is not read again if it matches the checksum in the store,
// and never installed if it does not.
func TestDataThatWasSeen(t *testing.T) {
	n := newNode(t, scratch(t))
	n.target.Check = nil // after it, stop and lock are read once more
	d := n.deliverer(nil)
	a, b := contentA(), contentB()
	n.publish(a)
	if reads, bulk := n.seen(d, a, install.Installed); reads != 1 || bulk != 0 {
		t.Errorf("the right data: %d reads, %d of them of the data", reads, bulk)
	}
	n.publish(b)
	if _, bulk := n.seen(d, a, install.Installed); bulk != 1 { // the control
		t.Errorf("data of an older version: %d reads of the data", bulk)
	}
	if broken := n.torn(b); len(broken) > 0 {
		t.Error(broken)
	}
	p := publish.Publisher{Store: n.store, Layout: n.layout, By: "test"}
	if _, err := p.Publish(context.Background(), publish.Request{Key: hosts, Content: a, Encoding: record.Brotli}); err != nil {
		t.Fatal(err)
	}
	stored := n.rows()[n.layout.Data(hosts)].Value
	if _, bulk := n.seen(d, stored, install.Installed); bulk != 0 || string(n.content()) != string(a) {
		t.Errorf("compressed data: %d reads of the data, the file holds %.20q", bulk, n.content())
	}
}

// A store that went back is not followed by a target that refuses that.
func TestRefuseOlder(t *testing.T) {
	n := newNode(t, scratch(t))
	n.target.RefuseOlder = true
	n.publish(contentA())
	older := n.rows()
	n.settle(contentA())
	n.publish(contentB())
	n.settle(contentB())
	for path, row := range older {
		n.put(path, string(row.Value), row.Flags)
	}
	if _, err := n.deliver(nil); !refusedAs(gate.WentBack)(err) {
		t.Errorf("%v", err)
	}
	n.target.RefuseOlder = false // the control
	n.must(install.Installed)
}

// One run of an exec is for all targets for which it is pending, and for no others.
func TestRunPending(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	d := n.deliverer(nil)
	var targets []install.Target
	for _, name := range []string{"one", "two", "three"} {
		target := n.target
		target.File, target.DeferExec = filepath.Join(n.dir, name), true
		targets = append(targets, target)
		if name == "three" {
			continue // is missing: no exec is pending
		}
		if r, err := d.Install(context.Background(), target); err != nil || !r.ExecPending || len(n.execs()) != 0 {
			t.Fatalf("%s: pending %v, %v, execs %q", name, r.ExecPending, err, n.execs())
		}
	}
	link := n.target
	link.File, link.DeferExec = filepath.Join(n.dir, "link"), true
	if err := os.Symlink(targets[0].File, link.File); err != nil {
		t.Fatal(err)
	}
	ran, results, err := d.RunPending(context.Background(), append(slices.Clone(targets), link))
	if err != nil || ran == nil {
		t.Fatalf("%v, %v", ran, err)
	}
	if got := len(n.execs()); got != 2 { // a line for each target, of one run
		t.Errorf("the exec wrote %d lines: %q", got, n.execs())
	}
	for i, pending := range []bool{false, false, false, true} {
		if results[i].Pending != pending || (results[i].Err != nil) != pending {
			t.Errorf("result %d: %+v", i, results[i])
		}
	}
	if ran, _, err := d.RunPending(context.Background(), targets); ran != nil || err != nil {
		t.Errorf("once more: %v, %v", ran, err)
	}
}

// The wait for all locks may take minutes. A stop that is set meanwhile counts for targets that were locked before,
// because stop and lock are read after all waits.
func TestRunPendingReadsTheStopLast(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.publishAs("other", contentB())
	var targets []install.Target
	for name, key := range map[string]kv.Key{"one": hosts, "two": "other"} {
		target := n.target
		target.Key, target.File, target.DeferExec = key, filepath.Join(n.dir, name), true
		if r, err := n.deliverer(nil).Install(context.Background(), target); err != nil || !r.ExecPending {
			t.Fatalf("%s: pending %v, %v", name, r.ExecPending, err)
		}
		targets = append(targets, target)
	}
	slices.SortFunc(targets, func(a, b install.Target) int { return strings.Compare(a.File, b.File) })
	locked := 0
	d := n.deliverer(func(s install.FaultPoint) error {
		if s == install.AtLock {
			if locked++; locked == 2 { // the first one's is ours
				n.put(n.layout.Stop(hosts), "bad data", 0)
			}
		}
		return nil
	})
	ran, results, err := d.RunPending(context.Background(), targets)
	if err != nil || ran == nil || locked != 2 {
		t.Fatalf("%v, %v, %d locks", ran, err, locked)
	}
	if r := results[0]; r.Ran || !r.Pending || r.Frozen == nil || r.Frozen.Path != n.layout.Stop(hosts) {
		t.Errorf("the one that is stopped: %+v", r)
	}
	if r := results[1]; !r.Ran || r.Pending || r.Err != nil {
		t.Errorf("the other one: %+v", r)
	}
	if got := n.execs(); !slices.Equal(got, []string{record.Checksum(contentB())}) {
		t.Errorf("the exec ran for %q", got)
	}
}
