package install_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/record"
)

// With a damaged state the exec is pending once, and nothing else happens.
func TestDamagedState(t *testing.T) {
	for name, damage := range map[string]func(good []byte) []byte{
		"empty":           func([]byte) []byte { return nil },
		"cut short":       func(good []byte) []byte { return bytes.TrimSpace(good)[:len(bytes.TrimSpace(good))/2] },
		"zeros":           func(good []byte) []byte { return make([]byte, len(good)) },
		"another format":  func(good []byte) []byte { return bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1) },
		"another's state": func(good []byte) []byte { return bytes.Replace(good, []byte(`/hosts"`), []byte(`/other"`), 1) },
		"huge":            func(good []byte) []byte { return append(good, bytes.Repeat([]byte(" "), 1<<20)...) },
		"another type":    func([]byte) []byte { return []byte(`{"format":1,"executed":[]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			n.publish(contentA())
			n.settle(contentA())
			write(t, n.stateFile(), damage(read(t, n.stateFile())))
			res := n.must(install.ExecRan)
			if len(n.execs()) != 2 {
				t.Errorf("the exec ran %d times, want 2", len(n.execs()))
			}
			if !strings.Contains(strings.Join(res.Notes, " "), "damaged") {
				t.Errorf("notes %q do not tell", res.Notes)
			}
			n.settle(contentA())
			n.publish(contentB())
			n.settle(contentB())
		})
	}
}

// Any single byte of the state may be wrong, and its end may be missing.
func TestEachByteOfStateDamaged(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	good := read(t, n.stateFile())
	for i := range good {
		if times(10) == 1 && i%10 != 0 {
			continue
		}
		flipped := bytes.Clone(good)
		flipped[i] ^= 0x04
		for _, bad := range [][]byte{flipped, good[:i]} {
			write(t, n.stateFile(), bad)
			n.settle(contentA())
			if t.Failed() {
				t.Fatalf("byte %d of %s", i, bad)
			}
		}
	}
}

// A state from a backup names other bytes: the exec is pending for the bytes on disk.
func TestRolledBackState(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	old := read(t, n.stateFile())
	n.publish(contentB())
	n.settle(contentB())
	write(t, n.stateFile(), old)
	n.must(install.ExecRan)
	n.settle(contentB())
	if got := len(n.execs()); got != 3 {
		t.Errorf("%d execs, want 3", got)
	}
}

// Without a state a current file is adopted: from a host image, or from 1.x. The
// negative control of the tests above: this is what a lost state must not be
// taken for when an install was under way.
func TestMissingState(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	write(t, n.target.File, contentA())
	n.must(install.Unchanged)
	n.must(install.Unchanged)
	if len(n.execs()) != 0 {
		t.Error("the exec ran for a file that was right from the beginning")
	}
	n.publish(contentB())
	n.settle(contentB())
	if err := os.RemoveAll(n.stateDir); err != nil {
		t.Fatal(err)
	}
	n.publish(contentA())
	n.settle(contentA())
}

// A state folder that cannot be used is found before anything is touched.
func TestUnusableStateFolder(t *testing.T) {
	base := scratch(t)
	write(t, filepath.Join(base, "a file"), nil)
	for name, spoil := range map[string]func(n *node){
		"below a file": func(n *node) { n.stateDir = filepath.Join(base, "a file", "state") },
		"a file":       func(n *node) { n.stateDir = filepath.Join(base, "a file") },
		"a folder for a state": func(n *node) {
			n.publish(contentA())
			n.settle(contentA())
			path := n.stateFile()
			_ = os.Remove(path)
			mkdir(t, path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			spoil(n)
			n.publish(contentB())
			before := n.content()
			res, err := n.deliver(nil)
			var state *install.StateError
			if !errors.As(err, &state) || res.Action != install.NoAction || !strings.Contains(err.Error(), "--state-dir") {
				t.Errorf("%q, %v", res.Action, err)
			}
			if !bytes.Equal(n.content(), before) {
				t.Error("the target was touched")
			}
		})
	}
}

// Other users cannot read the state.
func TestStateIsPrivate(t *testing.T) {
	n := newNode(t, scratch(t))
	n.stateDir = filepath.Join(n.stateDir, "made", "by us")
	n.publish(contentA())
	n.settle(contentA())
	for path, want := range map[string]os.FileMode{
		n.stateDir: 0o700, filepath.Join(n.stateDir, "targets"): 0o700, n.stateFile(): 0o600, filepath.Dir(n.stateDir): 0o755,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

// Whatever a state file holds, the file becomes right, its exec runs or was known
// to have run, and no other file is touched.
func FuzzState(f *testing.F) {
	sha := record.Checksum(contentA())
	f.Add([]byte(`{"format":1,"file":"FILE","installed":{"key":"hosts","sha256":"` + sha + `"},"executed":"` + sha + `"}`))
	f.Add([]byte(`{"format":1,"file":"FILE","overwrite":{"key":"hosts","sha256":"","before":"../canary"}}`))
	f.Add([]byte(`{"format":1,"file":"FILE","overwrite":{}}`))
	f.Add([]byte(`{"format":1,"file":"FILE","installed":{"key":"hosts","lineage":"x","version":18446744073709551615}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, state []byte) {
		n := newNode(t, scratch(t))
		n.target.Check, n.target.Exec = nil, nil
		n.publish(contentA())
		n.must(install.Installed)
		canaries := []string{filepath.Join(n.dir, "canary"), filepath.Join(n.base(), "canary"), filepath.Join(n.stateDir, "canary")}
		for _, path := range canaries {
			write(t, path, []byte("tweet"))
		}
		n.publish(contentB())
		for _, exists := range []bool{true, false} {
			if !exists {
				_ = os.Remove(n.target.File)
			}
			write(t, n.stateFile(), bytes.ReplaceAll(state, []byte("FILE"), []byte(n.target.File)))
			if _, err := n.deliver(nil); err != nil {
				t.Error(err)
			}
			for _, b := range n.torn(contentB()) {
				t.Error(b)
			}
		}
		for _, path := range canaries {
			if string(read(t, path)) != "tweet" {
				t.Errorf("%s was touched", path)
			}
		}
	})
}
