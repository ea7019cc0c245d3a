package install_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own in an image file.
type disk struct {
	t     testing.TB
	image string
	path  string // where it is mounted
}

// newDisk makes an ext4 file system of so many MiB and mounts it.
func newDisk(t testing.TB, mib int64, options string, mkfs ...string) *disk {
	t.Helper()
	needRoot(t)
	base := scratch(t)
	d := &disk{t: t, image: filepath.Join(base, "image"), path: filepath.Join(base, "mnt")}
	mkdir(t, d.path)
	write(t, d.image, nil)
	if err := os.Truncate(d.image, mib<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4",
		append(append([]string{"-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"}, mkfs...), d.image)...)
	d.mount(d.image, options)
	t.Cleanup(d.unmount)
	return d
}

func (d *disk) mount(image, options string) {
	d.t.Helper()
	if options != "" {
		options = "," + options
	}
	run(d.t, "mount", "-o", "loop"+options, image, d.path)
}

func (d *disk) unmount() {
	d.t.Helper()
	for range 500 {
		// A process that another test has just forked may hold it for a moment.
		err := unix.Unmount(d.path, 0)
		if err == nil || errors.Is(err, unix.EINVAL) {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	d.t.Errorf("%s cannot be unmounted", d.path)
}

// fill leaves free bytes on the disk, in files' names and their bytes. What it
// returns makes room again.
func (d *disk) fill(free int64) (empty func()) {
	d.t.Helper()
	path := filepath.Join(d.path, "filler")
	f, err := os.Create(path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	var size int64
	for chunk := int64(64 << 10); chunk >= 1<<10; {
		if err := unix.Fallocate(int(f.Fd()), 0, size, chunk); err != nil {
			chunk /= 2
			continue
		}
		size += chunk
	}
	if err := f.Truncate(max(0, size-free)); err != nil {
		d.t.Fatal(err)
	}
	return func() { _ = os.Remove(path) }
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}
