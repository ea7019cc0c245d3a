package fanout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// set changes the world.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// linked is a hello after the link /etc/hosts was led to /srv/hosts: locks go by both.
func linked() wire.FromAgent {
	return hello(wire.Target{Key: "hosts", Files: []string{"/etc/hosts", "/srv/hosts"}})
}

// What comes after the answer to a second hello has the locks of all files that it names. The agent takes a lock that is not
// there for none, and would install.
func TestSecondHelloLocks(t *testing.T) {
	t.Run("pushed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish("hosts", "one", "/srv/hosts")
			c := w.connect(t)
			c.send(hello(target("hosts", "")))
			c.snapshot()
			_ = wait.For(context.Background(), 2*time.Second)
			for range 20 { // until nothing more fits into the connection
				c.send(wire.FromAgent{Beat: &wire.Beat{}})
				synctest.Wait()
			}
			w.publish("hosts", "two", "/srv/hosts")
			c.send(linked())
			synctest.Wait()
			for m := c.next(); m.Welcome == nil; m = c.next() {
				continue
			}
			if s := c.snapshot(); len(s.Locks) != 1 {
				t.Errorf("the lock of /srv/hosts is missing: %+v", s)
			}
		})
	})
	t.Run("asked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish("hosts", "one", "/srv/hosts")
			c := w.connect(t)
			c.send(hello(target("hosts", "")))
			c.snapshot()
			_ = wait.For(context.Background(), 2*time.Second)
			reading := make(chan struct{})
			w.set(func() { w.reading = reading })
			c.send(wire.FromAgent{Confirm: &wire.Confirm{ID: 7, Key: "hosts"}})
			synctest.Wait()
			c.send(linked())
			for m := c.next(); m.Welcome == nil; m = c.next() {
				continue
			}
			close(reading)
			for s := c.snapshot(); ; s = c.snapshot() {
				if len(s.Locks) != 1 {
					t.Errorf("the lock of /srv/hosts is missing: %+v", s)
				}
				if s.ID == 7 {
					break
				}
			}
		})
	})
}

// An agent that asks without reading the answers costs a few of them.
func TestAsksWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		c := w.connect(t)
		c.send(hello(target("hosts", "")))
		c.snapshot()
		go func() {
			b, _ := wire.Encode(wire.FromAgent{Confirm: &wire.Confirm{ID: 1, Key: "hosts", Data: true}})
			for c.write(b) == nil {
				continue
			}
		}()
		<-c.done
		w.set(func() {
			if w.reads > 100 {
				t.Errorf("%d reads for an agent that does not read", w.reads)
			}
		})
	})
}

// A key that the token may not read costs no read of the store. It is followed once the token may.
func TestDeniedKeyIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		w.denied[w.layout.Data("hosts")] = true
		c := w.connect(t)
		c.send(hello(target("hosts", "")))
		c.alive()
		if s := c.snapshot(); s.Reason != wire.Denied {
			t.Errorf("got %+v", s)
		}
		synctest.Wait()
		w.set(func() {
			if w.used["hosts"] != 0 || w.reads != 0 {
				t.Errorf("in use %d times, %d reads", w.used["hosts"], w.reads)
			}
			clear(w.denied)
		})
		began := time.Now()
		if s := c.snapshot(); dataOf(s) != "one" || time.Since(began) > 65*time.Second {
			t.Errorf("after %s got %+v", time.Since(began), s)
		}
		c.pair.Cut()
		<-c.done
		if w.used["hosts"] != 0 {
			t.Errorf("in use %d times", w.used["hosts"])
		}
	})
}

// A client without a token that may do nothing takes no place. One that may read something does.
func TestNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		w.denied[w.layout.Data("hosts")], w.denied[w.layout.Node("web-1")] = true, true
		m := hello(target("hosts", ""))
		m.Hello.Token = ""
		c := w.connect(t)
		c.send(m)
		if r := c.next().Refused; r == nil || r.Reason != wire.Token || !strings.Contains(r.Says, "token_file") {
			t.Errorf("got %+v", r)
		}
		<-c.done
		w.set(func() { delete(w.denied, w.layout.Node("web-1")) })
		c = w.connect(t)
		c.send(m)
		if m := c.next(); m.Welcome == nil {
			t.Errorf("got %+v", m)
		}
	})
}

// A node name counts as connected, and its receipts are taken, only once the token has proved that it may write its row.
func TestForgedNode(t *testing.T) {
	receipt := wire.FromAgent{Receipt: json.RawMessage(`{"targets":[]}`)}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		w.denied[w.layout.Node("web-1")] = true
		for _, down := range []error{nil, errors.New("no leader")} {
			w.set(func() { w.down = down })
			c := w.connect(t)
			c.send(hello(target("hosts", "")))
			c.alive()
			m := c.next()
			for m.Welcome == nil {
				m = c.next()
			}
			if m.Welcome.NoReceipts == "" {
				t.Errorf("%v: receipts are welcome", down)
			}
			c.send(receipt)
			synctest.Wait()
			w.set(func() {
				if w.connected["web-1"] != 0 || w.taken != 0 {
					t.Errorf("%v: connected %d, receipts %d", down, w.connected["web-1"], w.taken)
				}
			})
			if down != nil { // it is checked again, and the agent is told
				w.set(func() { clear(w.denied); w.down = nil })
				for end := time.Now().Add(time.Minute); m.Failed == nil || m.Failed.Says != ""; m = c.next() {
					if time.Now().After(end) {
						t.Fatal("the agent is not told that it may report")
					}
				}
				c.send(receipt)
				synctest.Wait()
				w.set(func() {
					if w.connected["web-1"] != 1 || w.taken != 1 {
						t.Errorf("connected %d, receipts %d", w.connected["web-1"], w.taken)
					}
				})
			}
			c.pair.Cut()
			<-c.done
		}
		if n := w.connected["web-1"]; n != 0 {
			t.Errorf("connected %d", n)
		}
	})
}

// A check of the old token that ends after a hello with a new one says nothing of the new one.
func TestOldTokenIsRevokedDuringReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		c := w.connect(t)
		c.send(hello(target("hosts", "")))
		c.alive()
		c.snapshot()
		checking := make(chan struct{})
		w.set(func() { w.checking = checking })
		c.quietBeats(62 * time.Second)
		w.set(func() { w.checking, w.token = nil, "new" })
		m := hello(target("hosts", ""))
		m.Hello.Token = "new"
		c.send(m)
		c.snapshot()
		close(checking)
		c.quietBeats(3 * time.Minute) // fails if the session ends
	})
}

// Silent agents are disconnected while the store does not answer.
func TestSilentWhileTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		checking := make(chan struct{})
		defer close(checking)
		beat, _ := wire.Encode(wire.FromAgent{Beat: &wire.Beat{}})
		var all []*client
		for range 40 {
			c := w.connect(t)
			c.send(hello(target("hosts", "")))
			all = append(all, c)
			go func() {
				for {
					if _, err := c.pair.Agent.Read(context.Background()); err != nil {
						return
					}
				}
			}()
		}
		synctest.Wait()
		w.set(func() { w.checking = checking })
		for range 7 {
			_ = wait.For(context.Background(), 10*time.Second)
			for _, c := range all {
				if err := c.write(beat); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = wait.For(context.Background(), wire.SilentFor+5*time.Second)
		if n := w.Counts().Agents; n != 0 {
			t.Errorf("%d silent agents are connected", n)
		}
	})
}

// Hellos that come again and again while the store is unreachable do not pile up reads.
func TestManyHellos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var targets []wire.Target
		for i := range 1000 {
			k := fmt.Sprintf("key-%d", i)
			w.publish(kv.Key(k), "one")
			targets = append(targets, target(k, ""))
		}
		reading := make(chan struct{})
		w.set(func() { w.reading = reading })
		c := w.connect(t)
		for range 5 {
			c.send(hello(targets...))
			synctest.Wait()
			_ = wait.For(context.Background(), 2*time.Second)
		}
		if n := runtime.NumGoroutine(); n > 600 {
			t.Errorf("%d goroutines", n)
		}
		close(reading)
		c.pair.Cut()
		<-c.done
	})
}
