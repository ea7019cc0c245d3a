package fanout_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// alive sends beats until the connection ends.
func (c *client) alive() {
	b, _ := wire.Encode(wire.FromAgent{Beat: &wire.Beat{}})
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	c.t.Cleanup(func() { cancel(); ended.Wait() })
	ended.Go(func() {
		for c.write(b) == nil && wait.For(ctx, wire.BeatEvery) == nil {
			continue
		}
	})
}

// quietBeats fails if a snapshot comes within a time.
func (c *client) quietBeats(d time.Duration) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		if m := c.next(); m.Snapshot != nil && m.Snapshot.Reason == "" {
			c.t.Errorf("got %+v", m.Snapshot)
		}
	}
}

// The answer to a beat names the beat, and has the clock of a moment after it.
func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		c := w.connect(t)
		c.send(hello(target("hosts", "")))
		c.snapshot()
		<-time.After(3 * time.Second)
		c.send(wire.FromAgent{Beat: &wire.Beat{ID: 7}})
		if m := c.next(); m.Beat == nil || m.Beat.ID != 7 || m.Beat.Now < (3*time.Second).Microseconds() {
			t.Errorf("got %+v", m.Beat)
		}
		_ = c.pair.Agent.Close()
		<-c.done
	})
}

// An agent without a hello, and one that is silent, are disconnected.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		for _, begin := range []func(*client){func(*client) {}, func(c *client) { c.send(hello(target("hosts", ""))) }} {
			c := w.connect(t)
			began := time.Now()
			begin(c)
			if err := <-c.done; err == nil || time.Since(began) > wire.SilentFor+5*time.Second {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		polite, stubborn := w.connect(t), w.connect(t)
		for _, c := range []*client{polite, stubborn} {
			c.send(hello(target("hosts", "")))
			c.snapshot()
		}
		go func() {
			for m := polite.next(); m.Leave == nil; m = polite.next() {
				continue
			}
			_ = polite.pair.Agent.Close()
		}()
		began := time.Now()
		w.Drain(context.Background(), 3*time.Second)
		<-polite.done
		<-stubborn.done
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		c := w.connect(t)
		if m := c.next(); m.Refused == nil || m.Refused.Reason != wire.Busy {
			t.Errorf("got %+v", m)
		}
		<-c.done
	})
}
