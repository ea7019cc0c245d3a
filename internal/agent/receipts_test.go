package agent_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// reporting makes a node report.
func (n *node) reporting(every time.Duration) *node {
	n.config.Receipts, n.config.Reconcile = true, every
	return n
}

// receipt is the receipt of a node in the store; ok is false if there is none.
func (n *node) stored(name string) (r fleet.Receipt, index uint64, ok bool) {
	n.t.Helper()
	path := n.layout.Node(name)
	rows, err := n.store.Read(n.t.Context(), kv.Default, path)
	if err != nil {
		return r, 0, false // it is unreachable
	}
	row := rows[path]
	if row.State != kv.Present {
		return r, 0, false
	}
	if r, err = fleet.ParseReceipt(name, row.Value, row.Flags); err != nil {
		n.t.Fatal(err)
	}
	return r, row.Index, true
}

// told waits until the receipt reports this about a target.
func (n *node) told(what string, file string, is func(fleet.Receipt, fleet.Target) bool) fleet.Receipt {
	n.t.Helper()
	var r fleet.Receipt
	until(n.t, "the receipt tells: "+what, func() bool {
		var ok bool
		if r, _, ok = n.stored(n.config.Node); !ok {
			return false
		}
		for _, t := range r.Targets {
			if t.File == n.path(file) && is(r, t) {
				return true
			}
		}
		return false
	})
	return r
}

func version(v uint64) func(fleet.Receipt, fleet.Target) bool {
	return func(_ fleet.Receipt, t fleet.Target) bool {
		return t.Version == v && t.Outcome == outcome.Converged
	}
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)
	begin := func(t *testing.T, every time.Duration) *node {
		t.Helper()
		n := newNode(t, addr, install.Target{Key: "hosts"}).reporting(every)
		n.begin("one\n")
		n.told("version 1", "hosts", version(1))
		return n
	}

	beside(t, "can be off", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Reconcile = 10 * time.Millisecond // and so the heartbeat
		n.begin("one\n")
		<-time.After(300 * time.Millisecond)
		if _, _, ok := n.stored(host); ok || n.tally.receipts.Load() != 0 {
			t.Error("there is a receipt")
		}
	})

	beside(t, "report the version in place, and its delivery", func(t *testing.T) {
		n := begin(t, time.Hour)
		r := n.told("the first reconcile", "hosts", func(_ fleet.Receipt, t fleet.Target) bool { return t.Placed != nil && t.Placed.First })
		s := n.status(0)
		if got := r.Targets[0]; got.Lineage != s.Lineage || got.SHA256 != s.SHA256 || got.By != fleet.ByAgent || got.Key != "hosts" ||
			r.Agent == nil || r.Agent.Version != "test" || time.Duration(r.Agent.Every) != time.Hour {
			t.Errorf("%+v, %+v", got, r.Agent)
		}
		n.publish("hosts", "two\n")
		n.told("not the first reconcile", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return t.Version == 2 && t.Placed != nil && !t.Placed.First && t.Placed.Steps.InPlace() > 0 &&
				t.Placed.Steps.InPlace() < time.Minute
		})
		n.stopKey("hosts", "a reason")
		n.publish("hosts", "three\n") // which shows it
		held := func(s outcome.Outcome) func(fleet.Receipt, fleet.Target) bool {
			return func(_ fleet.Receipt, t fleet.Target) bool {
				return t.Outcome == s && t.Version == 2 && strings.Contains(t.Detail, "a reason")
			}
		}
		n.told("stopped", "hosts", held(outcome.Stopped))
		n.lock("hosts", "a reason", time.Time{})
		n.resume("hosts")
		n.told("locked", "hosts", held(outcome.Locked))
	})

	beside(t, "waiting for a key is not the first reconcile", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"}).reporting(time.Hour)
		n.start()
		n.state(0, outcome.Missing)
		n.told("missing", "hosts",
			func(_ fleet.Receipt, t fleet.Target) bool {
				return t.Outcome == outcome.Missing && t.Version == 0
			})
		n.publish("hosts", "one\n")
		n.told("it waited for it", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return t.Version == 1 && t.Placed != nil && !t.Placed.First
		})
	})

	beside(t, "come once a second in a storm", func(t *testing.T) {
		n := begin(t, time.Hour)
		before, began := n.tally.receipts.Load(), time.Now()
		last := ""
		for i := 0; time.Since(began) < 4*time.Second; i++ {
			last = fmt.Sprintf("version %d\n", i)
			n.publish("hosts", last)
		}
		n.current(0, last)
		want := n.status(0).Version
		n.told("the last version", "hosts", version(want))
		took := time.Since(began)
		if got := n.tally.receipts.Load() - before; float64(got) > took.Seconds()+1 || got < 2 || want < 20 {
			t.Errorf("%d receipts in %s, of %d versions", got, took, want)
		}
	})

	beside(t, "come although nothing changed", func(t *testing.T) {
		n := begin(t, time.Second)
		before, began := n.tally.receipts.Load(), time.Now()
		<-time.After(3500 * time.Millisecond)
		if got := n.tally.receipts.Load() - before; got < 3 || float64(got) > time.Since(began).Seconds()+1 {
			t.Errorf("%d heartbeats in %s", got, time.Since(began))
		}
		r, _, _ := n.stored(host)
		if age := time.Since(r.Sent); age > 2*time.Second || age+time.Duration(r.Targets[0].Since) < 3*time.Second {
			t.Errorf("sent %s ago, current for %s", age, time.Duration(r.Targets[0].Since))
		}
	})

	// If writing receipts fails, files still arrive at once, and the store does not count as
	// unreachable. When writes work again, the receipt has the version in place.
	for name, kind := range map[string]error{
		"denied": kv.ErrDenied, "unreachable for writes": kv.ErrUnreachable, "outcomes that are unknown": kv.ErrUnknownOutcome,
		"conflicts": kv.ErrConflict, "refused": kv.ErrRequest, "answers that are not Consul's": kv.ErrNotStore,
	} {
		beside(t, "that fail: "+name, func(t *testing.T) {
			n := newNode(t, addr, install.Target{Key: "hosts"}).reporting(5 * time.Second)
			var err error = &kv.StoreError{Op: "write", Kind: kind}
			n.tally.refuse.Store(&err)
			n.begin("one\n")
			until(t, "a receipt fails", func() bool { return n.tally.receipts.Load() > 0 })
			for i := range 5 {
				content := fmt.Sprintf("version %d\n", i)
				n.publish("hosts", content)
				n.current(0, content)
				<-time.After(300 * time.Millisecond)
			}
			if log := n.log.String(); strings.Contains(log, "store unreachable") || strings.Count(log, "the receipt was not written") > 1 {
				t.Error("the log tells of more than one receipt")
			}
			n.well()
			if !n.agent.Status().Store.Up {
				t.Error("the store is taken to be unreachable")
			}
			n.tally.refuse.Store(nil)
			n.told("the last version", "hosts", version(6))
		})
	}

	beside(t, "a repair is no delivery", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"}).reporting(300 * time.Millisecond)
		n.start()
		n.state(0, outcome.Missing)
		n.publish("hosts", "one\n")
		r := n.told("version 1", "hosts", version(1))
		edited := time.Now()
		n.write("hosts", "edited by hand\n")
		until(t, "it is right again", func() bool { return n.file("hosts") == "one\n" })
		r = n.told("it reports again", "hosts",
			func(now fleet.Receipt, _ fleet.Target) bool { return now.Sent.After(r.Sent.Add(time.Second)) })
		if now := r.Targets[0].Placed; now == nil || !r.Sent.Add(-time.Duration(now.Age)).Before(edited) {
			t.Errorf("it was placed %+v, before it was edited at %v", now, edited)
		}
	})

	beside(t, "a store that is slow with them holds up no delivery", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"}).reporting(time.Hour)
		slow := make(chan struct{})
		n.tally.slow.Store(&slow)
		n.begin("one\n")
		until(t, "a receipt is on its way", func() bool { return n.tally.receipts.Load() > 0 })
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
		if now := n.agent.Status().Receipt; now.Last != nil || now.Error != "" {
			t.Errorf("the receipt was not held up until the file was in place: %+v", now)
		}
		close(slow)
	})

	beside(t, "beside an out", func(t *testing.T) {
		n := begin(t, time.Hour)
		w := fleet.Writer{Store: n.store, Layout: n.layout, Node: host}
		out := fleet.Target{By: fleet.ByOut, Key: "other", File: "/etc/other", Outcome: outcome.Converged, Version: 7}
		if _, err := w.PutOut(t.Context(), time.Now(), out); err != nil {
			t.Fatal(err)
		}
		n.publish("hosts", "two\n")
		r := n.told("version 2", "hosts", version(2))
		if len(r.Targets) != 2 || r.Targets[0].By != fleet.ByOut || r.Targets[0].Version != 7 {
			t.Errorf("the out's part is lost: %+v", r.Targets)
		}
	})

	beside(t, "outlive a restart", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"}, install.Target{Key: "slow", Exec: []string{"./exec"}}).reporting(time.Hour)
		n.exec("exec", waiting("go"))
		n.write("go", "")
		n.each("one", "hosts", "slow")
		n.start()
		n.told("version 1", "hosts", version(1))
		n.told("version 1", "slow", version(1))
		n.each("two", "hosts", "slow")
		n.told("version 2", "hosts", version(2))
		r := n.told("version 2", "slow", version(2))
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		was := map[string]fleet.Target{}
		for _, t := range r.Targets {
			was[t.Key] = t
		}
		n.publish("slow", "slow three\n") // its first reconcile takes as long as we like
		if err := os.Remove(n.path("go")); err != nil {
			t.Fatal(err)
		}
		began := len(n.lines("log"))
		n.start()
		until(t, "its exec runs", func() bool { return len(n.lines("log")) > began })
		after := n.told("sent by the new process", "hosts",
			func(now fleet.Receipt, _ fleet.Target) bool { return now.Sent.After(r.Sent) })
		if len(after.Targets) != 2 {
			t.Errorf("a target that is starting is gone: %+v", after.Targets)
		}
		for _, now := range after.Targets {
			if before := was[now.Key]; now.Version != 2 || now.Placed == nil || now.Placed.First || now.Placed.Age < before.Placed.Age ||
				now.Placed.Steps != before.Placed.Steps {
				t.Errorf("%s was %+v, and is %+v", now.Key, before.Placed, now.Placed)
			}
		}
		n.write("go", "")
		n.told("version 3", "slow", version(3))
	})

	beside(t, "follow the configuration", func(t *testing.T) {
		n := begin(t, time.Hour)
		n.mustReload(func(c *config.Config) { c.Receipts = false })
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
		<-time.After(1500 * time.Millisecond)
		if r, _, _ := n.stored(host); r.Targets[0].Version != 1 {
			t.Error("it reports although it should not")
		}
		n.mustReload(func(c *config.Config) { c.Receipts = true }) // and nothing is new
		n.told("version 2", "hosts", version(2))
		n.mustReload(func(c *config.Config) { c.Node = "web-18" })
		if r := n.told("version 2", "hosts", version(2)); r.Node != "web-18" {
			t.Errorf("%+v", r)
		}
		n.mustReload(func(c *config.Config) { // one target more, and one less
			c.Targets = append(c.Targets, n.target(install.Target{Key: "more"}))
		})
		n.told("missing", "more", func(fleet.Receipt, fleet.Target) bool { return true })
		n.mustReload(func(c *config.Config) { c.Targets = c.Targets[:1] })
		n.told("no more", "hosts", func(r fleet.Receipt, _ fleet.Target) bool { return len(r.Targets) == 1 })
		// It promises a shorter interval than before, and keeps it.
		n.mustReload(func(c *config.Config) { c.Reconcile = time.Second })
		n.told("it promises", "hosts",
			func(r fleet.Receipt, _ fleet.Target) bool { return time.Duration(r.Agent.Every) == time.Second })
		_, index, _ := n.stored("web-18")
		for range 2 {
			until(t, "a heartbeat", func() bool { _, now, _ := n.stored("web-18"); return now != index })
			_, index, _ = n.stored("web-18")
		}
	})

	beside(t, "report an outage that is over", func(t *testing.T) {
		line := newLine(t, addr)
		n := newNode(t, addr, install.Target{Key: "hosts"}).reporting(time.Hour)
		n.config.Store.Addrs = []string{line.addr}
		n.publish("hosts", "one\n")
		n.start()
		if r := n.told("version 1", "hosts", version(1)); r.Agent.Outage != nil {
			t.Errorf("%+v", r.Agent.Outage)
		}
		line.cut()
		n.gone(0, "one\n")
		<-time.After(time.Second)
		line.mend()
		began := time.Now()
		r := n.told("the outage", "hosts", func(r fleet.Receipt, t fleet.Target) bool {
			return r.Agent.Outage != nil && t.Outcome == outcome.Converged
		})
		if a := r.Agent.Outage; time.Duration(a.Lasted) < time.Second || time.Duration(a.Lasted) > time.Minute ||
			time.Duration(a.Ended) > time.Since(began) {
			t.Errorf("%+v", a)
		}
	})

	beside(t, "report an exec, without its output", func(t *testing.T) {
		const secret = "hunter2"
		file := install.Target{Key: "hosts", Exec: []string{"./exec", secret},
			Check: []string{"/bin/sh", "-c", "echo " + secret + " $1; test ! -e $0", "", ""}}
		n := newNode(t, addr)
		file.Check[3] = n.path("bad")
		file.Check[4] = install.FileMark
		n.config.Targets = append(n.config.Targets, n.target(file))
		n.reporting(time.Hour).change = hasty
		n.exec("exec", "echo "+secret+"; echo "+secret+" >&2; test -e good")
		clean := func() {
			t.Helper()
			r, _, _ := n.stored(host)
			b, err := json.Marshal(r)
			if err != nil || strings.Contains(string(b), secret) {
				t.Errorf("%v: %s", err, b)
			}
		}
		n.publish("hosts", "one\n")
		n.start()
		n.told("pending", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return t.ExecPending && t.Outcome == outcome.Pending && t.Exec != nil && t.Exec.Exit == 1 && t.Exec.Failures > 0 &&
				t.Version == 1 && t.Detail != ""
		})
		clean()
		n.write("good", "")
		n.told("not pending", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return !t.ExecPending && t.Outcome == outcome.Converged && t.Exec != nil && t.Exec.Exit == 0 && t.Exec.Failures == 0 &&
				t.Detail == ""
		})
		clean()
		n.write("bad", "")
		n.publish("hosts", "two\n")
		n.told("refused", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return t.Outcome == outcome.Refused && t.Reason == "check_failed" && t.Version == 1 && t.Detail != ""
		})
		clean()
		if !strings.Contains(n.status(0).Detail+n.log.String(), secret) {
			t.Error("the control: the node itself does not know it")
		}
	})
}
