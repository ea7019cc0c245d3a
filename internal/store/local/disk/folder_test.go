package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/store/local/disk"
)

// Folders and files that are not fit for a store.
func TestUnfitFolder(t *testing.T) {
	for what, c := range map[string]struct {
		words []string
		make  func(dir string) error
	}{
		"a link to a folder": {[]string{"symbolic link"}, func(dir string) error { return os.Symlink(filepath.Dir(dir), dir) }},
		"a link to nothing":  {[]string{"symbolic link"}, func(dir string) error { return os.Symlink("/nowhere", dir) }},
		"a file":             {[]string{"no folder"}, func(dir string) error { return os.WriteFile(dir, nil, 0o600) }},
		"others may write":   {[]string{"0722", "chmod go-w"}, func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o722)) }},
		"a linked store":     {[]string{"store.db", "no regular file"}, func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Symlink("/etc/passwd", path(dir))) }},
		"a linked lock": {[]string{"lock", "no regular file"}, func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Symlink("/etc/passwd", filepath.Join(dir, "lock")))
		}},
		"a folder for a store": {[]string{"store.db", "no regular file"}, func(dir string) error { return os.MkdirAll(path(dir), 0o700) }},
		"others may write the store": {[]string{"store.db", "chmod go-w"}, func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path(dir), nil, 0o600), os.Chmod(path(dir), 0o666))
		}},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			_, err := disk.Open(dir)
			if !errors.Is(err, disk.ErrFolder) {
				t.Fatalf("error %v, want %v", err, disk.ErrFolder)
			}
			for _, w := range append(c.words, dir) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error does not say %q: %v", w, err)
				}
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, nil)
	if _, err := disk.Open(filepath.Join(file, "store")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("below a file: %v", err)
	}
}

// The lock holds within one process too, and does not depend on what is in its file.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	for content, want := range map[string]string{"garbage\x00": "by another process", "-3": "by another process", "77\n": "by process 77;"} {
		write(t, filepath.Join(dir, "lock"), []byte(content))
		if _, err := disk.Open(dir); !errors.Is(err, disk.ErrInUse) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: error %v", content, err)
		}
	}
	shut(t, j)
	if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
		t.Error(err)
	}
	newModel().check(t, reopened(t, dir))

	// Somebody who has the file open with bbolt's own tools.
	db, err := bolt.Open(path(dir), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(dir); !errors.Is(err, disk.ErrInUse) || !strings.Contains(err.Error(), path(dir)) {
		t.Errorf("error %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	newModel().check(t, reopened(t, dir))
}

// A process that is just ending is waited for.
func TestLockOfOneThatEnds(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	ended := make(chan error)
	go func() {
		<-time.After(100 * time.Millisecond)
		ended <- j.Close()
	}()
	again, err := disk.Open(dir)
	if closed := <-ended; err != nil || closed != nil {
		t.Fatal(err, closed)
	}
	shut(t, again)
}

// Without the lock's file the folder is as good as before.
func TestNoLockFile(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	add(t, j, sample(1))
	shut(t, j)
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	m := newModel()
	m.add(sample(1))
	m.check(t, reopened(t, dir))
	if _, err := os.Stat(filepath.Join(dir, "lock")); errors.Is(err, fs.ErrNotExist) {
		t.Error("there is no lock")
	}
}
