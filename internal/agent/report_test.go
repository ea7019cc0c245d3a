package agent_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/agentfile"
	"kvexpress/internal/consultest"
	"kvexpress/internal/deliver"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// newReporting is a node that reports.
func newReporting(t testing.TB, addr string, targets ...deliver.Target) *node {
	n := newNode(t, addr, targets...)
	n.config.Receipts = true
	n.change = hasty
	return n
}

// receipt is what stands in the store of the node; false if nothing does.
func (n *node) receipt() (fleet.Receipt, bool) {
	n.t.Helper()
	path := n.layout.Node(n.config.Node)
	rows, err := n.store.Read(n.t.Context(), kv.Default, path)
	if err != nil {
		n.t.Fatal(err)
	}
	row := rows[path]
	if row.State == kv.Absent {
		return fleet.Receipt{}, false
	}
	r, err := fleet.ParseReceipt(n.config.Node, row.Value, row.Flags)
	if err != nil {
		n.t.Fatal(err)
	}
	return r, true
}

// reports waits for a receipt in which a target is as it should be.
func (n *node) reports(what string, name string, is func(fleet.Target) bool) fleet.Target {
	n.t.Helper()
	var found fleet.Target
	until(n.t, name+" is reported: "+what, func() bool {
		r, _ := n.receipt()
		for _, t := range r.Targets {
			if filepath.Base(t.File) == name && is(t) {
				found = t
				return true
			}
		}
		return false
	})
	return found
}

func inVersion(version uint64) func(fleet.Target) bool {
	return func(t fleet.Target) bool { return t.Version == version && t.State == string(agent.Current) }
}

func TestReceiptsSayWhatHappened(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	t.Run("installed", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts", Exec: []string{"./exec"}})
		n.exec("exec", "echo secret-output; test -e good")
		n.write("good", "")
		n.start()
		n.reports("missing", "hosts", func(t fleet.Target) bool { return t.State == string(agent.Missing) })
		n.publish("hosts", "one\n")
		got := n.reports("version 1", "hosts", inVersion(1))
		if p := got.Placed; p == nil || p.First || p.Steps.Stage <= 0 || p.Steps.Exec <= 0 || p.Steps.InPlace() <= 0 {
			t.Errorf("it was waited for, and its times are %+v", got.Placed)
		}
		if got.Owed || got.Exec == nil || got.Exec.Exit != 0 || got.By != fleet.ByAgent || got.Key != "hosts" {
			t.Errorf("it says %+v", got)
		}
		r, _ := n.receipt()
		if r.Agent == nil || r.Agent.Version != "test" || time.Duration(r.Agent.Every) != n.config.Reconcile {
			t.Errorf("the agent says of itself %+v", r.Agent)
		}
	})
	t.Run("found at the first look", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts"})
		n.publish("hosts", "one\n")
		n.start()
		if got := n.reports("version 1", "hosts", inVersion(1)); got.Placed == nil || !got.Placed.First {
			t.Errorf("nobody waited for it, and it was placed %+v", got.Placed)
		}
	})
	t.Run("owed, and what a command prints stays on the node", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts", Exec: []string{"./exec", "secret-argument"}})
		n.exec("exec", "echo secret-output; exit 3")
		n.publish("hosts", "one\n")
		n.start()
		got := n.reports("owed", "hosts", func(t fleet.Target) bool { return t.Owed && t.Version == 1 && t.Exec != nil })
		if got.State != string(agent.Owed) || got.Exec.Exit != 3 || !strings.Contains(got.Detail, "exit status 3") {
			t.Errorf("it says %+v, %+v", got, got.Exec)
		}
		if s := n.status(0); !strings.Contains(s.Detail, "secret-output") {
			t.Errorf("on the node itself it says %q", s.Detail)
		}
		if strings.Contains(fmt.Sprintf("%+v %+v", got, got.Exec), "secret") {
			t.Errorf("it tells others %+v", got)
		}
	})
	t.Run("check failed", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts", Check: []string{"/bin/sh", "-c", "echo secret; exit 1", "{file}"}})
		n.publish("hosts", "one\n")
		n.start()
		got := n.reports("refused", "hosts", func(t fleet.Target) bool { return t.Reason == "check_failed" })
		if got.State != string(agent.Refused) || got.SHA256 != "" || strings.Contains(fmt.Sprintf("%+v", got), "secret") {
			t.Errorf("it says %+v", got)
		}
	})
	t.Run("held, and let go", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts"}, deliver.Target{Key: "motd"})
		n.each("one", "hosts", "motd")
		n.start()
		n.reports("version 1", "hosts", inVersion(1))
		n.stopKey("hosts", "bad data")
		n.lock("motd", "mine", time.Time{})
		n.each("two", "hosts", "motd")
		stopped := n.reports("stopped", "hosts", func(t fleet.Target) bool { return t.State == string(agent.Stopped) })
		locked := n.reports("locked", "motd", func(t fleet.Target) bool { return t.State == string(agent.Locked) })
		if stopped.Version != 1 || !strings.Contains(stopped.Detail, "bad data") || locked.Version != 1 || !strings.Contains(locked.Detail, "mine") {
			t.Errorf("it says %+v and %+v", stopped, locked)
		}
		n.resume("hosts")
		n.unlock("motd")
		n.reports("version 2", "hosts", inVersion(2))
		n.reports("version 2", "motd", inVersion(2))
	})
	t.Run("a repair is no delivery", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts"})
		n.config.Reconcile = 300 * time.Millisecond
		n.start()
		n.state(0, agent.Missing)
		n.publish("hosts", "one\n")
		was := n.reports("version 1", "hosts", inVersion(1))
		n.write("hosts", "edited by hand\n")
		until(t, "it is right again", func() bool { return n.file("hosts") == "one\n" })
		r, _ := n.receipt()
		sent := r.Sent
		until(t, "it reports again", func() bool { r, _ = n.receipt(); return r.Sent.After(sent.Add(time.Second)) })
		if now := r.Targets[0].Placed; now == nil || now.Age < was.Placed.Age+fleet.Millis(500*time.Millisecond) {
			t.Errorf("it was placed %+v, and after the repair %+v", was.Placed, now)
		}
	})
}

// A storm of versions is one receipt a second, and the last one counts.
func TestReceiptsAreFew(t *testing.T) {
	t.Parallel()
	n := newReporting(t, storeAddr(t), deliver.Target{Key: "hosts"})
	n.start()
	n.state(0, agent.Missing)
	writes, done := n.countReceipts()
	began := time.Now()
	version := uint64(0)
	for time.Since(began) < 3*time.Second {
		version++
		n.publish("hosts", fmt.Sprintf("%d\n", version))
	}
	n.reports("the last version", "hosts", inVersion(version))
	took := time.Since(began)
	done()
	if most := int(took/time.Second) + 2; *writes > most || *writes < 2 {
		t.Errorf("%d receipts within %v, at most %d are allowed, for %d versions", *writes, took, most, version)
	}
}

// countReceipts counts how often the node's receipt changes, until it is told to end.
func (n *node) countReceipts() (*int, func()) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	writes := 0
	var all sync.WaitGroup
	all.Go(func() {
		for index := uint64(1); ctx.Err() == nil; {
			entry, err := n.store.Watch(ctx, n.layout.Node(n.config.Node), index, time.Minute)
			if err == nil && entry.State == kv.Present && entry.Index != index {
				writes++
			}
			index = max(1, entry.Index)
		}
	})
	return &writes, func() { cancel(); all.Wait() }
}

// A receipt that cannot be written is no trouble for deliveries, and is made good.
func TestReceiptsThatAreLost(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	t.Run("a store that refuses them", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts"})
		refusing := &refuser{kind: kv.ErrDenied}
		refusing.refuse.Store(true)
		n.change = refusing.around
		n.publish("hosts", "one\n")
		n.start()
		n.current(0, "one\n")
		until(t, "a receipt is refused", func() bool { return refusing.refused.Load() > 0 })
		until(t, "it is told", func() bool { return n.agent.Status().Receipt.Error != "" })
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
		if _, there := n.receipt(); there {
			t.Error("there is a receipt")
		}
		refusing.refuse.Store(false)
		n.publish("hosts", "three\n")
		n.reports("version 3", "hosts", inVersion(3))
		until(t, "it is well again", func() bool {
			s := n.agent.Status().Receipt
			return s.Error == "" && s.Last != nil
		})
		if told := strings.Count(n.log.String(), "the receipt was not written"); told != 1 {
			t.Errorf("it is logged %d times", told)
		}
		n.well()
	})
	t.Run("a store that is slow with them", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts"})
		slow := &refuser{kind: kv.ErrUnknownOutcome, wait: 5 * time.Second}
		slow.refuse.Store(true)
		n.change = slow.around
		n.publish("hosts", "one\n")
		n.start()
		n.current(0, "one\n")
		until(t, "a receipt is on its way", func() bool { return slow.begun.Load() > 0 })
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
		if slow.refused.Load() > 0 {
			t.Error("the delivery waited for the receipt")
		}
	})
	t.Run("another writer on the node", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts"})
		n.publish("hosts", "one\n")
		n.start()
		n.reports("version 1", "hosts", inVersion(1))
		w := fleet.Writer{Store: n.store, Layout: n.layout, Node: n.config.Node}
		other := fleet.Target{By: fleet.ByOut, Key: "motd", File: "/etc/motd", State: "current", Version: 4, SHA256: "x"}
		if wrote, err := w.PutOut(t.Context(), time.Now(), other); err != nil || !wrote {
			t.Fatal(wrote, err)
		}
		n.publish("hosts", "two\n")
		n.reports("version 2", "hosts", inVersion(2))
		n.reports("the other's", "motd", func(t fleet.Target) bool { return t.By == fleet.ByOut && t.Version == 4 })
	})
}

// refuser is a store that does not take receipts.
type refuser struct {
	agent.Store
	kind           error
	wait           time.Duration // before it says so
	refuse         atomic.Bool
	begun, refused atomic.Int64
}

// around puts it around the agent's store.
func (r *refuser) around(o *agent.Options) {
	hasty(o)
	open := o.Open
	o.Open = func(s agentfile.Store) ([]agent.Store, error) {
		all, err := open(s)
		if err == nil {
			r.Store = all[0]
			all[0] = r
		}
		return all, err
	}
}

func (r *refuser) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if !r.refuse.Load() {
		return r.Store.Commit(ctx, ops)
	}
	r.begun.Add(1)
	select {
	case <-time.After(r.wait):
	case <-ctx.Done():
	}
	r.refused.Add(1)
	return nil, &kv.StoreError{Op: "write " + ops[0].Path, Kind: r.kind}
}

// After a restart it is still known how the version came to be in place, and an outage
// is told once it is over.
func TestReceiptsRemember(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	way := newLine(t, server.Addr)
	n := newReporting(t, server.Addr, deliver.Target{Key: "hosts"})
	n.config.Store.Addrs = []string{way.addr}
	n.start()
	n.state(0, agent.Missing)
	n.publish("hosts", "one\n")
	before := n.reports("version 1", "hosts", inVersion(1))
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	was, _ := n.receipt()
	n.start()
	until(t, "it reports after the restart", func() bool { r, _ := n.receipt(); return r.Sent.After(was.Sent) })
	after := n.reports("version 1", "hosts", inVersion(1))
	if after.Placed == nil || after.Placed.Steps != before.Placed.Steps || after.Placed.Age <= before.Placed.Age {
		t.Errorf("placed %+v, after the restart %+v", before.Placed, after.Placed)
	}

	if r, _ := n.receipt(); r.Agent.Away != nil {
		t.Errorf("it was away: %+v", r.Agent.Away)
	}
	way.cut()
	n.state(0, agent.Away)
	way.mend()
	n.current(0, "one\n")
	until(t, "the outage is told", func() bool {
		r, _ := n.receipt()
		return r.Agent.Away != nil && r.Agent.Away.Lasted > 0 && r.Targets[0].State == string(agent.Current)
	})
}

// The configuration switches receipts, and names the node.
func TestReceiptsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	n := newReporting(t, storeAddr(t), deliver.Target{Key: "hosts"})
	n.config.Receipts = false
	n.publish("hosts", "one\n")
	n.start()
	n.current(0, "one\n")
	if s := n.agent.Status().Receipt; !s.Off {
		t.Errorf("receipts are off, and it says %+v", s)
	}
	n.mustReload(func(c *agentfile.Config) { c.Receipts = true })
	n.publish("hosts", "two\n")
	n.reports("version 2", "hosts", inVersion(2))
	n.mustReload(func(c *agentfile.Config) { c.Node = "web-18" })
	got := n.reports("version 2", "hosts", inVersion(2))
	if r, _ := n.receipt(); r.Node != "web-18" || got.Version != 2 {
		t.Errorf("it goes by %s", r.Node)
	}
}

// A heartbeat comes although nothing is new.
func TestReceiptsComeRegularly(t *testing.T) {
	t.Parallel()
	n := newReporting(t, storeAddr(t), deliver.Target{Key: "hosts"})
	n.config.Reconcile = time.Second
	n.publish("hosts", "one\n")
	n.start()
	n.reports("version 1", "hosts", inVersion(1))
	first, _ := n.receipt()
	for range 2 {
		until(t, "another one", func() bool { r, _ := n.receipt(); return r.Sent.After(first.Sent) })
		first, _ = n.receipt()
	}
}
