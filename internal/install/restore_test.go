package install_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/record"
)

// pickyNode has A, and an exec that fails for B. It notes every run with the
// version.
func pickyNode(t *testing.T, forA string) *node {
	t.Helper()
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	n.target.RestoreOnFailure = true
	n.target.Exec = n.script(`echo "$KVEXPRESS_SHA256 v$KVEXPRESS_VERSION" >>"$log"
		[ "$KVEXPRESS_SHA256" != ` + record.Checksum(contentB()) + ` ] || exit 1; ` + forA)
	n.publish(contentB())
	return n
}

// The exec fails: the old bytes come back, and the exec runs for them. Its
// variables name the old version.
func TestRestore(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		n := pickyNode(t, "")
		n.target.InPlace = inPlace
		if err := os.Chmod(n.target.File, 0o600); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		n.target.Mode = &mode
		_, err := n.failed(install.Restored)
		if !err.Restored {
			t.Errorf("error %v", err)
		}
		for _, b := range append(n.torn(contentA()), n.left()...) {
			t.Error(b)
		}
		if info, err := os.Stat(n.target.File); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v; want the old one, 0600", info.Mode(), err)
		}
		a, b := record.Checksum(contentA()), record.Checksum(contentB())
		if got := n.execs()[1:]; strings.Join(got, " ") != b+" v2 "+a+" v1" {
			t.Errorf("execs %q", got)
		}
		// The next delivery tries again, and so it goes on until it works.
		n.failed(install.Restored)
		n.target.Exec = n.appendSHA()
		n.settle(contentB())
	}
}

// Restored bytes keep their version: an older version is still older.
func TestRestoreKeepsVersion(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(lines("first", 30))
	n.must(install.Installed)
	old := n.frozenCopy()
	n.publish(contentA())
	n.must(install.Installed)
	n.publish(contentB())
	n.target.RestoreOnFailure = true
	repair := n.failing()
	n.failed(install.Restored)
	repair()
	n.store = stale{Store: n.store, old: old}
	n.settle(contentB()) // what the leader says, not the stale first version
}

// The exec fails for the old bytes too: they stay, and it stays pending for them.
func TestRestoreWhoseExecFails(t *testing.T) {
	n := pickyNode(t, "exit 1")
	res, _ := n.failed(install.Restored)
	if !strings.Contains(strings.Join(res.Notes, " "), "old content") {
		t.Errorf("notes %q", res.Notes)
	}
	n.publish(contentA())
	n.target.Exec = n.appendSHA()
	n.must(install.ExecRan)
	n.settle(contentA())
}

// Where there was nothing, or nothing of a size that is kept, the new bytes stay.
func TestNothingToRestore(t *testing.T) {
	for name, before := range map[string][]byte{"no file": nil, "a huge file": make([]byte, record.MaxPlain+1)} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			if before != nil {
				write(t, n.target.File, before)
			}
			n.target.RestoreOnFailure = true
			repair := n.failing()
			n.publish(contentA())
			res, err := n.failed(install.Installed)
			if err.Restored || !strings.Contains(strings.Join(res.Notes, " "), "old content") {
				t.Errorf("%v, notes %q", err, res.Notes)
			}
			repair()
			n.settle(contentA())
		})
	}
}

// An empty file is something to restore.
func TestRestoreEmptyFile(t *testing.T) {
	n := newNode(t, scratch(t))
	write(t, n.target.File, nil)
	n.target.RestoreOnFailure = true
	n.failing()
	n.publish(contentA())
	n.failed(install.Restored)
	if got := n.content(); !bytes.Equal(got, []byte{}) || got == nil {
		t.Errorf("the file holds %d bytes", len(got))
	}
}
