package install_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kvexpress/internal/install"
)

// powerless mounts so that nothing becomes durable by itself: metadata does not
// wait for data, a rename does not flush, and the journal is not written by time.
const powerless = "data=writeback,noauto_da_alloc,commit=600"

// snapshot is what a power loss at some step leaves on the disk.
type snapshot struct {
	at    string
	image string
	ran   []byte // the SHA-256s that the exec ran for so far
}

// powerNode is a node with target and state on a disk of its own. The exec
// writes to another one.
func powerNode(t testing.TB) (*disk, *node) {
	t.Helper()
	d := newDisk(t, 8, powerless)
	n := newNode(t, d.path)
	n.log = filepath.Join(scratch(t), "exec.log")
	n.target.Exec = n.appendSHA()
	return d, n
}

// snap copies the bytes that have reached the disk. The power loss drops the cache in
// memory. With another's fsync before it, more metadata has got there: not ours.
func (d *disk) snap(n *node, at string, others bool) snapshot {
	d.t.Helper()
	if others {
		f, err := os.Create(filepath.Join(d.path, "somebody else's"))
		if err != nil {
			d.t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			d.t.Fatal(err)
		}
		_ = f.Close()
	}
	image, err := os.CreateTemp(filepath.Dir(d.image), "snapshot-")
	if err != nil {
		d.t.Fatal(err)
	}
	defer image.Close()
	if _, err := image.Write(read(d.t, d.image)); err != nil {
		d.t.Fatal(err)
	}
	return snapshot{at: at, image: image.Name(), ran: read(d.t, n.log)}
}

// after mounts a snapshot in the place of the disk, and checks its files.
func (d *disk) after(n *node, s snapshot, look func()) {
	d.t.Helper()
	d.unmount()
	d.mount(s.image, powerless)
	write(d.t, n.log, s.ran)
	look()
}

// A power loss at any step. Writes without an fsync are lost.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		switch s.name {
		case "replace", "first", "back to the same bytes", "the store goes back", "in place", "candidate":
		default:
			continue
		}
		s.noNote = s.name == "candidate"
		if s.name == "in place" {
			s.allowed = nil // it may be torn, until the next delivery
		}
		for _, others := range []bool{false, true} {
			if times(10) == 1 && !others && s.name != "replace" && s.name != "candidate" {
				continue
			}
			t.Run(fmt.Sprintf("%s/others fsync: %v", s.name, others), func(t *testing.T) {
				d, n := powerNode(t)
				s.prepare(n)
				snaps := []snapshot{}
				_, err := n.deliver(func(step install.FaultPoint) error {
					snaps = append(snaps, d.snap(n, label(len(snaps), step), others))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				snaps = append(snaps, d.snap(n, "the end", others))
				for _, snap := range snaps {
					t.Run(snap.at, func(t *testing.T) {
						n.t, d.t = t, t
						d.after(n, snap, func() {
							if s.name == "in place" {
								// Whole again, also while there is no store.
								store := n.store
								n.store = unreachable{}
								_, _ = n.deliver(nil)
								n.store = store
								for _, b := range n.torn(contentA(), contentB()) {
									t.Error(b)
								}
							}
							s.finish(n)
						})
					})
				}
				n.t, d.t = t, t
			})
		}
	}
}

// The negative control: an fsync that succeeds and does nothing.
func TestPowerLossControl(t *testing.T) {
	needStrace(t)
	s := scenarios()[0]
	d, n := powerNode(t)
	s.prepare(n)
	wrapper, _ := strace(t, "-e", "trace=fsync", "-e", "inject=fsync:retval=0")
	n.job().run(t, wrapper...)
	d.after(n, d.snap(n, "the end", true), func() {
		if broken := n.torn(contentA(), contentB()); len(broken) == 0 {
			t.Error("without fsync a power loss does no harm: this test proves nothing")
		}
	})
}
