package agent_test

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// never is longer than any test: no reconcile without a change.
const never = 1_000_000 * time.Hour

// drifts are ways in which a file is changed by hand.
func drifts() map[string]func(path string) error {
	all := map[string]func(path string) error{
		"bytes":   func(path string) error { return os.WriteFile(path, []byte("by hand\n"), 0o600) },
		"longer":  func(path string) error { return os.WriteFile(path, []byte("one\nby hand\n"), 0o600) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"mode":    func(path string) error { return os.Chmod(path, 0o666) },
		"deleted": os.RemoveAll, // as often as it takes
	}
	if os.Geteuid() == 0 {
		all["owner"] = func(path string) error { return os.Chown(path, 12345, 12345) }
	}
	return all
}

// right reports whether a file has the wanted content, mode and owner.
func (n *node) right(name, content string) bool {
	info, err := os.Stat(n.path(name))
	if err != nil {
		return false
	}
	owner := info.Sys().(*syscall.Stat_t)
	return n.file(name) == content && info.Mode().Perm() == 0o644 && int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid()
}

// allReconciles counts those of all targets.
func (n *node) allReconciles() (all uint64) {
	for _, s := range n.agent.Status().Targets {
		all += s.Counts.Reconciles
	}
	return all
}

func strict(key string) install.Target {
	mode, uid, gid := fs.FileMode(0o644), os.Geteuid(), os.Getegid()
	return install.Target{Key: "hosts", File: key, Mode: &mode, UID: &uid, GID: &gid}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "is repaired at the reconcile interval", func(t *testing.T) {
		n := newNode(t, addr)
		for name := range drifts() {
			n.config.Targets = append(n.config.Targets, n.target(strict(name)))
		}
		n.config.Reconcile = 300 * time.Millisecond
		n.publish("hosts", "one\n")
		n.start()
		for i := range n.config.Targets {
			n.current(i, "one\n")
		}
		for range 3 {
			for name, drift := range drifts() {
				if err := drift(n.path(name)); err != nil {
					t.Fatal(err)
				}
			}
			for name := range drifts() {
				until(t, name+" is right again", func() bool { return n.right(name, "one\n") })
			}
		}
		until(t, "all are counted", func() bool {
			var repairs, installs uint64
			for _, s := range n.agent.Status().Targets {
				repairs += s.Counts.Repairs
				installs += s.Counts.Installs
			}
			return installs+repairs == uint64(len(drifts())*4)
		})
		n.well()
	})

	// Drift is repaired at a start and on reconnect, not in between.
	beside(t, "at start and on reconnect", func(t *testing.T) {
		line := newLine(t, addr)
		n := newNode(t, addr)
		n.config.Store.Addrs = []string{line.addr}
		for name := range drifts() {
			n.config.Targets = append(n.config.Targets, n.target(strict(name)))
		}
		n.config.Reconcile = never
		n.publish("hosts", "one\n")
		n.start()
		for i := range n.config.Targets {
			n.current(i, "one\n")
		}
		spoil := func() {
			reconciles, before := n.allReconciles(), uint64(0)
			for try := 0; try < 10 && before != reconciles; try++ { // a store that answers late is reconciled with again
				for name, drift := range drifts() {
					if err := drift(n.path(name)); err != nil {
						t.Fatal(err)
					}
				}
				before = reconciles
				<-time.After(time.Second)
				reconciles = n.allReconciles()
			}
			for name := range drifts() {
				if n.right(name, "one\n") {
					t.Errorf("%s was repaired between two reconciles", name)
				}
			}
			if s := n.status(0); before != reconciles || s.Outcome != outcome.Converged {
				t.Errorf("%+v", s)
			}
		}
		all := func() {
			t.Helper()
			for name := range drifts() {
				until(t, name+" is right again", func() bool { return n.right(name, "one\n") })
			}
		}
		spoil()
		line.cut()
		n.state(0, outcome.Unreachable)
		line.mend()
		all()
		spoil()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n.start()
		all()
	})
}
