package agent_test

import (
	"strings"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
)

// refused expects content that is refused for a reason, with other content in place.
func (n *node) refused(reason, content string) {
	n.t.Helper()
	until(n.t, "it is refused: "+reason, func() bool { s := n.status(0); return s.Outcome == outcome.Refused && s.Reason == reason })
	if s := n.status(0); s.Detail == "" || s.Counts.Refusals[reason] == 0 {
		n.t.Errorf("%+v", s)
	}
	if got := n.file("hosts"); got != content {
		n.t.Errorf("the file holds %q, want %q", got, content)
	}
	n.well()
}

func TestRefused(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)
	begin := func(t *testing.T, target install.Target) *node {
		t.Helper()
		target.Key = "hosts"
		n := newNode(t, addr, target)
		n.begin("one\none\n")
		return n
	}
	sum := func(s string) string { return record.Checksum([]byte(s)) }

	beside(t, "too short", func(t *testing.T) {
		n := begin(t, install.Target{MinLines: 2})
		n.publish("hosts", "two\n")
		n.refused("too_short", "one\none\n")
		n.publish("hosts", "three\nthree\n")
		if s := n.current(0, "three\nthree\n"); s.Reason != "" || s.Detail != "" {
			t.Errorf("%+v", s)
		}
	})

	beside(t, "a check that fails", func(t *testing.T) {
		n := begin(t, install.Target{Check: []string{"grep", "-q", "one", "{file}"}})
		n.publish("hosts", "two\n")
		n.refused("check_failed", "one\none\n")
		n.publish("hosts", "one again\n")
		n.current(0, "one again\n")
	})

	beside(t, "a manifest of a later kvexpress", func(t *testing.T) {
		n := begin(t, install.Target{})
		n.commit(
			kv.Op{Verb: kv.Set, Path: n.layout.Manifest("hosts"), Value: []byte(`{"format":99}`)},
			kv.Op{Verb: kv.Set, Path: n.layout.Data("hosts"), Value: []byte("two\n")},
			kv.Op{Verb: kv.Set, Path: n.layout.Checksum("hosts"), Value: []byte(sum("two\n"))},
		)
		n.refused("needs_newer", "one\none\n")
		n.commit(kv.Op{Verb: kv.Delete, Path: n.layout.Manifest("hosts")})
		n.current(0, "two\n")
	})

	// A repair may write either of the two rows.
	beside(t, "a mismatch", func(t *testing.T) {
		n := begin(t, install.Target{})
		n.put(n.layout.Checksum("hosts"), sum("two\n"))
		n.put(n.layout.Data("hosts"), "two, by hand\n")
		n.refused("mismatch", "one\none\n")
		n.put(n.layout.Checksum("hosts"), sum("two, by hand\n"))
		n.current(0, "two, by hand\n")
		n.put(n.layout.Data("hosts"), "three\n")
		n.put(n.layout.Checksum("hosts"), sum("three, by hand\n"))
		n.refused("mismatch", "two, by hand\n")
		n.put(n.layout.Data("hosts"), "three, by hand\n")
		n.current(0, "three, by hand\n")
		n.publish("hosts", "four\n")
		n.current(0, "four\n")
	})
}

func TestOlder(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "is followed", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.publish("hosts", "one\n")
		past := n.rows("hosts")
		n.begin("two\n")
		n.commit(past...)
		if s := n.current(0, "one\n"); s.Version != 1 {
			t.Errorf("%+v", s)
		}
		until(t, "the log tells", func() bool { return strings.Contains(n.log.String(), "went back from 2 to 1") }) // after the state
		n.publish("hosts", "three\n")
		n.current(0, "three\n")
	})

	beside(t, "is refused", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Targets[0].RefuseOlder = true // as package agentfile sets it
		n.publish("hosts", "one\n")
		past := n.rows("hosts")
		n.begin("two\n")
		n.commit(past...)
		if s := n.state(0, outcome.Older); s.Version != 2 || n.file("hosts") != "two\n" || !strings.Contains(s.Detail, "2 to 1") {
			t.Errorf("%+v", s)
		}
		n.well()
		n.publish("hosts", "three\n")
		n.current(0, "three\n")
	})
}
