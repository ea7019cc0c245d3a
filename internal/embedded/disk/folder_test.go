package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/embedded/disk"
)

// Folders and files that are not fit for a store.
func TestUnfitFolder(t *testing.T) {
	for what, c := range map[string]struct {
		words []string
		make  func(dir string) error
	}{
		"a link to a folder": {[]string{"symbolic link"}, func(dir string) error { return os.Symlink(filepath.Dir(dir), dir) }},
		"a link to nothing":  {[]string{"symbolic link"}, func(dir string) error { return os.Symlink("/nowhere", dir) }},
		"a file":             {[]string{"not a folder"}, func(dir string) error { return os.WriteFile(dir, nil, 0o600) }},
		"below a file": {[]string{"not a folder"}, func(dir string) error {
			return errors.Join(os.Remove(filepath.Dir(dir)), os.WriteFile(filepath.Dir(dir), nil, 0o600))
		}},
		"others may write": {[]string{"0722", "chmod go-w"}, func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o722))
		}},
		"a linked store": {[]string{"store.db", "not a regular file"}, func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Symlink("/etc/passwd", path(dir)))
		}},
		"a folder for a store": {[]string{"store.db", "not a regular file"}, func(dir string) error {
			return os.MkdirAll(path(dir), 0o700)
		}},
		"others may write the store": {[]string{"store.db", "chmod go-w"}, func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path(dir), nil, 0o600), os.Chmod(path(dir), 0o666))
		}},
		"another's": {[]string{"uid 12345"}, func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 12345, -1))
		}},
		"another's store": {[]string{"uid 12345", "store.db"}, func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path(dir), nil, 0o600), os.Chown(path(dir), 12345, -1))
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
}

// The lock holds within one process too. A process that is just ending is waited for. A tool of bbolt's that has the file
// counts.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	inUse := func(name string) {
		t.Helper()
		if _, err := disk.Open(dir); !errors.Is(err, disk.ErrInUse) || !strings.Contains(err.Error(), name+"'") {
			t.Errorf("error %v", err)
		}
	}
	inUse(dir)
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
	db, err := bolt.Open(path(dir), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if inUse(path(dir)); db.Close() != nil {
		t.Fatal("bbolt does not close")
	}
	newModel().check(t, reopened(t, dir))
}
