package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/disk"
)

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// mounted returns a mounted file system of 2 MiB: ext4 in a file, or tmpfs. Only root can mount one.
func mounted(t testing.TB, kind string) string {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("SKIPPED: only root can mount a file system")
	}
	base := t.TempDir()
	dir := filepath.Join(base, "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if kind == "tmpfs" {
		run(t, "mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", dir)
	} else {
		image := filepath.Join(base, "image")
		write(t, image, nil)
		if err := os.Truncate(image, 2<<20); err != nil {
			t.Fatal(err)
		}
		run(t, "mkfs."+kind, "-q", "-F", "-m", "0", image)
		run(t, "mount", "-o", "loop", image, dir)
	}
	t.Cleanup(func() { run(t, "umount", "--lazy", dir) })
	return dir
}

// filler fills the file system except for about free bytes.
func filler(t testing.TB, dir string, free int64) (empty func()) {
	t.Helper()
	file := filepath.Join(dir, "filler")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
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
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk, with more and more space left, each write is refused or durable, and later writes succeed when there is space. Open works on a
// full disk.
func TestFullDisk(t *testing.T) {
	for _, kind := range []string{"ext4", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			fs := mounted(t, kind)
			dir, m, index := filepath.Join(fs, "store"), newModel(), uint64(0)
			j, _ := open(t, dir)
			refused, written := 0, 0
			try := func(size int) error {
				index++
				c := set(index, fmt.Sprintf("row/%d", index%40), bytes.Repeat([]byte{byte(index)}, size))
				c.Rows = append(c.Rows, &embedded.Row{Path: "both", ModifyIndex: index})
				err := j.Append([]embedded.Change{c})
				if err == nil {
					m.add(c)
				}
				return err
			}
			for free := int64(0); free < 160<<10; free += 8 << 10 {
				empty := filler(t, fs, free)
				for range 12 {
					err := try(5000)
					if err == nil {
						written++
						continue
					}
					refused++
					if !errors.Is(err, embedded.ErrNotWritten) || !errors.Is(err, syscall.ENOSPC) {
						t.Fatalf("with %d bytes free: %v", free, err)
					}
					if !strings.Contains(err.Error(), path(dir)) || !strings.Contains(err.Error(), "free some space") {
						t.Errorf("the error does not help: %v", err)
					}
				}
				shut(t, j)
				var s embedded.Saved
				j, s = open(t, dir)
				m.check(t, s)
				empty()
				if err := try(100); err != nil {
					t.Fatalf("with room again: %v", err)
				}
			}
			if refused < 20 || written < 20 {
				t.Errorf("%d refused, %d written: the test proves little", refused, written)
			}
			shut(t, j)
			m.check(t, reopened(t, dir))
		})
	}
}

// On a full disk Open creates nothing and leaves nothing behind. It reports a read-only file system as such.
func TestMadeOnAFullDisk(t *testing.T) {
	fs := mounted(t, "ext4")
	dir := filepath.Join(fs, "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	empty := filler(t, fs, 0)
	_, err := disk.Open(dir)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path(dir)) {
		t.Errorf("error %v", err)
	}
	empty()
	newModel().check(t, reopened(t, dir))
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("in the folder are %v", names)
	}
	run(t, "mount", "-o", "remount,ro", fs)
	for _, dir := range []string{dir, filepath.Join(fs, "other")} {
		_, err := disk.Open(dir)
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), dir) {
			t.Errorf("error %v", err)
		}
	}
}
