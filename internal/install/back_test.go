package install_test

import (
	"errors"
	"strings"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// twoVersions is a node with version 2, B, and a store as it was at version 1, A.
func twoVersions(t *testing.T) (n *node, old kv.Store) {
	t.Helper()
	n = newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	old = n.frozenCopy()
	n.publish(contentB())
	n.settle(contentB())
	return n, old
}

func notes(r install.Result) string { return strings.Join(r.Notes, "; ") }

// An older version that is only a stale answer never comes back.
func TestStaleAnswerKeepsFile(t *testing.T) {
	n, old := twoVersions(t)
	now := n.store
	n.store = stale{Store: now, old: old}
	ran := len(n.execs())
	res := n.must(install.Unchanged)
	if len(n.torn(contentB())) > 0 || len(n.execs()) != ran || strings.Contains(notes(res), "went back") {
		t.Errorf("the file went back; notes %q", res.Notes)
	}
	// A consistent read shows that the answer was stale.
	c := lines("C", 30)
	store := n.store
	n.store = now
	n.publish(c)
	n.store = store
	n.settle(c)

	// The negative control: if the leader cannot be asked, the file is kept too, with a note.
	n.store = stale{Store: unreachable{}, old: old}
	if _, err := n.deliver(nil); !errors.Is(err, kv.ErrUnreachable) || !strings.Contains(err.Error(), "could not be confirmed") {
		t.Errorf("error %v", err)
	}
	if broken := n.torn(c); len(broken) > 0 {
		t.Error(broken)
	}
}

// A store that really went back, as after a restored snapshot, is followed, with a
// note.
func TestStoreWentBack(t *testing.T) {
	n, old := twoVersions(t)
	n.store = old
	res := n.must(install.Installed)
	if !strings.Contains(notes(res), "from 2 to 1") {
		t.Errorf("notes %q", res.Notes)
	}
	n.settle(contentA())
}

// A rebuilt store counts from 1 again, and is followed.
func TestAnotherLineage(t *testing.T) {
	n, _ := twoVersions(t)
	for path := range n.rows() {
		n.remove(path)
	}
	n.publish(lines("C", 20))
	res := n.must(install.Installed)
	if !strings.Contains(notes(res), "another lineage") {
		t.Errorf("notes %q", res.Notes)
	}
	n.settle(lines("C", 20))
}

// A version of kvexpress 1.x is delivered: without a manifest, and beside one of
// other bytes.
func TestUnmanaged(t *testing.T) {
	for _, managed := range []bool{false, true} {
		n := newNode(t, scratch(t))
		if managed {
			n.publish(contentA())
			n.settle(contentA())
		}
		n.put(n.layout.Data(hosts), string(contentB()), 0)
		n.put(n.layout.Checksum(hosts), record.Checksum(contentB()), 0)
		res := n.must(install.Installed)
		if res.Version != 0 || res.Lineage != "" {
			t.Errorf("managed %v: version %d of %q", managed, res.Version, res.Lineage)
		}
		n.settle(contentB())
	}
}

// kvexpress 1.x writes data and checksum one after the other. A read in between
// is repeated.
func TestBetweenTheWritesOf1x(t *testing.T) {
	for reads, delivered := range map[int]bool{1: true, 2: true, 3: true, 100: false} {
		n := newNode(t, scratch(t))
		n.publish(contentA())
		n.settle(contentA())
		n.put(n.layout.Data(hosts), string(contentB()), 0)
		n.put(n.layout.Checksum(hosts), record.Checksum(contentB()), 0)
		store := n.store
		n.store = &between{
			Store: store, data: n.layout.Data(hosts), checksum: n.layout.Checksum(hosts),
			old: record.Checksum(contentA()), left: reads,
		}
		_, err := n.deliver(nil)
		if delivered {
			n.settle(contentB())
			continue
		}
		if !refusedAs(gate.Mismatch)(err) {
			t.Errorf("error %v", err)
		}
		if broken := n.torn(contentA()); len(broken) > 0 {
			t.Error(broken)
		}
		n.store = store // the negative control: the same rows, whole
		n.settle(contentB())
	}
}

// A raw target takes any value as it is. A stop does not freeze it, a lock does.
func TestRaw(t *testing.T) {
	n := newNode(t, scratch(t))
	n.target.Key, n.target.Raw = "", "some/other/value"
	if _, err := n.deliver(nil); !as[*gate.Missing](err) {
		t.Errorf("error %v", err)
	}
	n.put(n.target.Raw, string(contentA()), 0)
	n.put(n.layout.Stop(hosts), "wait", 0)
	n.settle(contentA())
	n.put(n.target.Raw, "short\n", 0)
	n.target.MinLines = 2
	if _, err := n.deliver(nil); !refusedAs(gate.TooShort)(err) {
		t.Errorf("error %v", err)
	}
	n.put(n.target.Raw, string(contentB()), 0)
	lock := n.layout.Lock(n.target.File, "node")
	n.put(lock, "mine", 0)
	if _, err := n.deliver(nil); !as[*gate.Locked](err) {
		t.Errorf("error %v", err)
	}
	n.remove(lock)
	n.settle(contentB())
}
