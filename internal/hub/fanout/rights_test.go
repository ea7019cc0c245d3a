package fanout_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/wire"
)

func TestRefused(t *testing.T) {
	labels := map[string]string{}
	for _, c := range "abcdefghijklmnopq" {
		labels[string(c)] = "x"
	}
	edit := func(f func(h *wire.Hello)) wire.FromAgent {
		m := hello(target("hosts", ""))
		f(m.Hello)
		return m
	}
	for name, in := range map[string]struct {
		m      wire.FromAgent
		reason wire.Reason
		word   string
	}{
		"no hello":   {wire.FromAgent{Beat: &wire.Beat{}}, wire.Invalid, "hello"},
		"prefix":     {edit(func(h *wire.Hello) { h.Prefix = "other" }), wire.Invalid, "prefix"},
		"datacenter": {edit(func(h *wire.Hello) { h.Datacenter = "dc2" }), wire.Invalid, "datacenter"},
		"node":       {edit(func(h *wire.Hello) { h.Node = "../x" }), wire.Invalid, "node"},
		"host":       {edit(func(h *wire.Hello) { h.Host = "a/b" }), wire.Invalid, "host"},
		"targets":    {edit(func(h *wire.Hello) { h.Targets = make([]wire.Target, wire.MaxTargets+1) }), wire.Invalid, "4096"},
		"key":        {hello(target("../x", "")), wire.Invalid, "key"},
		"path":       {hello(wire.Target{Key: "hosts", Files: []string{"etc"}}), wire.Invalid, "path"},
		"no path":    {hello(wire.Target{Key: "hosts"}), wire.Invalid, "paths"},
		"labels":     {edit(func(h *wire.Hello) { h.Labels = labels }), wire.Invalid, "labels"},
		"token":      {edit(func(h *wire.Hello) { h.Token = "wrong" }), wire.Token, "token_file"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.publish("hosts", "one")
				w.token = "secret"
				c := w.connect(t)
				c.send(in.m)
				r := c.next().Refused
				if r == nil || r.Reason != in.reason || !strings.Contains(r.Says, in.word) || strings.Contains(r.Says, "secret") {
					t.Errorf("got %+v", r)
				}
				if err := <-c.done; err == nil {
					t.Error("Serve ended without an error")
				}
				if w.used["hosts"] != 0 {
					t.Error("a refused agent uses the key")
				}
			})
		})
	}
}

// A key that the token may not read is never sent; when the right goes, the agent is told within a minute, and a token that
// the store no longer knows ends the session. A check that cannot be made is no denial, but nothing new is sent.
func TestRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		w.publish("secret", "s")
		w.token = "secret"
		w.denied[w.layout.Data("secret")] = true
		c := w.connect(t)
		c.send(hello(target("hosts", ""), target("secret", "")))
		c.alive()
		for range 2 {
			s := c.snapshot()
			if denied := s.Key == "secret"; denied != (s.Reason == wire.Denied) || denied == (dataOf(s) != "") {
				t.Errorf("got %+v", s)
			}
		}
		c.send(wire.FromAgent{Confirm: &wire.Confirm{ID: 1, Key: "secret", Data: true}})
		m := c.next()
		for m.Beat != nil {
			m = c.next()
		}
		if m.Failed == nil || m.Failed.Reason != wire.Denied {
			t.Errorf("got %+v", m)
		}
		w.mu.Lock()
		w.denied[w.layout.Checksum("hosts")] = true
		w.mu.Unlock()
		began := time.Now()
		if s := c.snapshot(); s.Key != "hosts" || s.Reason != wire.Denied || time.Since(began) > 65*time.Second {
			t.Errorf("after %s got %+v", time.Since(began), s)
		}
		w.publish("hosts", "two")
		if s := c.snapshot(); s.Reason != wire.Denied || dataOf(s) != "" {
			t.Errorf("got %+v", s)
		}
		w.mu.Lock()
		w.denied, w.down = map[string]bool{}, errors.New("no leader")
		w.mu.Unlock()
		c.quietBeats(2 * time.Minute)
		w.publish("hosts", "three")
		c.quietBeats(20 * time.Second)
		w.mu.Lock()
		w.down = nil
		w.mu.Unlock()
		for s := c.snapshot(); dataOf(s) != "three"; s = c.snapshot() {
			if s.Key == "hosts" {
				t.Errorf("got %+v", s)
			}
		}
		w.mu.Lock()
		w.token = "another"
		w.mu.Unlock()
		if err := <-c.done; err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("the session ended with %v", err)
		}
	})
}
