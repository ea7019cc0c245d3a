package agent_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
)

// asOf1x publishes as kvexpress 1.x does: by two writes, one after the other.
func (n *node) asOf1x(key kv.Key, content string, gap time.Duration) {
	n.t.Helper()
	n.put(n.layout.Data(key), content)
	<-time.After(gap)
	n.put(n.layout.Checksum(key), record.Checksum([]byte(content)))
}

func TestWatch(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "new versions", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.publish("hosts", "one\n")
		n.start()
		s := n.current(0, "one\n")
		if s.Version != 1 || s.Good == nil || s.Changed == nil || s.Counts.Installs != 1 {
			t.Errorf("%+v", s)
		}
		for i := range 3 {
			n.publish("hosts", fmt.Sprintf("again %d\n", i))
			if s := n.current(0, fmt.Sprintf("again %d\n", i)); s.Version != uint64(i+2) {
				t.Errorf("%+v", s)
			}
		}
		n.well()
		if err := n.stop(); err != nil {
			t.Error(err)
		}
		// The watch brings the data along.
		if got := n.tally.data.Load(); got != 0 {
			t.Errorf("%d reads of data that the watch had brought", got)
		}
	})

	// The server that answers reads is behind the one that answers watches.
	for name, line := range map[string]string{"small": "one\n", "large": strings.Repeat("one\n", 50_000)} {
		t.Run("reads that are older than the watch, "+name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, addr, install.Target{Key: "hosts"})
			n.start()
			n.state(0, outcome.Missing)
			for i := range 5 {
				n.tally.lag.Store(int64(4 - i))
				content := line + fmt.Sprintf("version %d\n", i)
				n.publish("hosts", content)
				n.current(0, content)
			}
			n.well()
		})
	}

	// A refused version is read again only after a change.
	beside(t, "a file without a folder that 1.x writes too short", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts", File: filepath.Join(t.TempDir(), "new", "hosts"), MinLines: 2})
		n.start()
		n.state(0, outcome.Missing)
		n.put(n.layout.Checksum("hosts"), record.Checksum([]byte("one\n")))
		n.put(n.layout.Data("hosts"), "two\n")
		until(t, "it is taken for torn", func() bool { return n.status(0).Reason == "mismatch" })
		n.put(n.layout.Checksum("hosts"), record.Checksum([]byte("two\n")))
		until(t, "it is refused", func() bool { return n.status(0).Reason == "too_short" })
		before := n.status(0).Counts.Reconciles
		<-time.After(4 * time.Second) // a burst is over, and four a second would come
		if reconciles := n.status(0).Counts.Reconciles - before; reconciles > 3 {
			t.Errorf("%d reconciles although nothing changes", reconciles)
		}
	})

	for _, gap := range []time.Duration{3 * time.Millisecond, 800 * time.Millisecond} {
		beside(t, fmt.Sprintf("1.x writes with %s in between", gap), func(t *testing.T) {
			n := newNode(t, addr, install.Target{Key: "hosts"})
			n.asOf1x("hosts", "one\n", gap)
			n.start()
			n.current(0, "one\n")
			n.asOf1x("hosts", "two\n", gap)
			if s := n.current(0, "two\n"); s.Version != 0 {
				t.Errorf("%+v", s)
			}
			n.publish("hosts", "three\n") // ours
			n.current(0, "three\n")
			n.asOf1x("hosts", "four\n", gap) // over ours: the manifest speaks of other bytes
			n.current(0, "four\n")
			n.well()
		})
	}

	beside(t, "a key that is deleted and made again", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.begin("one\n")
		for i := range 2 {
			n.remove(n.layout.Dir("hosts"))
			n.state(0, outcome.Missing)
			if i == 0 && n.file("hosts") != "one\n" {
				t.Fatal("the file was removed with the key")
			}
			n.publish("hosts", fmt.Sprintf("again %d\n", i))
			if s := n.current(0, fmt.Sprintf("again %d\n", i)); s.Version != uint64(i+2) {
				t.Errorf("%+v", s)
			}
		}
	})

	beside(t, "all keys are deleted", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "a"}, install.Target{Key: "b"})
		n.publish("a", "a\n")
		n.publish("b", "b\n")
		n.start()
		lineage := n.current(0, "a\n").Lineage
		n.current(1, "b\n")
		n.remove(n.layout.Prefix() + "/")
		n.state(0, outcome.Missing)
		n.state(1, outcome.Missing)
		if n.file("a") != "a\n" || n.file("b") != "b\n" {
			t.Fatal("the files were removed with the keys")
		}
		n.well()
		n.publish("a", "anew\n")
		if s := n.current(0, "anew\n"); s.Version != 1 || s.Lineage == lineage {
			t.Errorf("another lineage was published: %+v", s)
		}
		// after the state
		until(t, "the log tells of another lineage", func() bool { return strings.Contains(n.log.String(), "of another lineage") })
	})

	beside(t, "a write that changes nothing wakes no target", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.begin("one\n")
		reconciles := n.status(0).Counts.Reconciles
		n.publish("hosts", "one\n")
		n.asOf1x("hosts", "one\n", time.Millisecond)
		n.publish("others", "other\n")
		n.publish("host", "other\n")
		n.publish("hosts-too", "other\n")
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
		if got := n.status(0).Counts.Reconciles - reconciles; got != 1 {
			t.Errorf("%d reconciles for one change", got)
		}
	})
}

// A file that is too large for its watch is watched by its checksum.
func TestLarge(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)
	large := func(text string) string { return strings.Repeat(text+"\n", 200<<10/(len(text)+1)) }

	beside(t, "small and large", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.begin("small\n")
		for i := range 3 {
			one, two := large(fmt.Sprint("one ", i)), large(fmt.Sprint("two ", i))
			n.publish("hosts", one)
			n.current(0, one)
			answered := n.tally.answered.Load()
			n.publish("hosts", two)
			n.current(0, two)
			if got := n.tally.answered.Load(); got != answered {
				t.Errorf("a watch has brought %d large files", got-answered)
			}
			small := fmt.Sprintf("small again %d\n", i)
			n.publish("hosts", small)
			n.current(0, small)
		}
		if s := n.status(0); s.Version != 10 {
			t.Errorf("%+v", s)
		}
	})

	beside(t, "of 1.x", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.asOf1x("hosts", large("one"), 3*time.Millisecond)
		n.start()
		n.current(0, large("one"))
		n.asOf1x("hosts", large("two"), 3*time.Millisecond)
		n.current(0, large("two"))
		n.asOf1x("hosts", "small\n", 3*time.Millisecond)
		n.current(0, "small\n")
		n.asOf1x("hosts", "smaller\n", 3*time.Millisecond)
		n.current(0, "smaller\n")
	})
}
