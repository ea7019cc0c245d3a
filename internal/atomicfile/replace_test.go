package atomicfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// times is full in a soak, and a tenth of it otherwise.
func times(full int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return full
	}
	return max(1, full/10)
}

// memory is a folder where fsync costs nothing, if there is one.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "atomicfile-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// replace is an install as deliver does it: lock, stage, put in place.
func replace(path string, content []byte, hook Hook) (err error) {
	dir, err := OpenDir(filepath.Dir(path), hook)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	target, err := dir.Lock(context.Background(), filepath.Base(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	staged, err := dir.Stage(TempName("target"), content, Attrs{Mode: 0o644, UID: -1, GID: -1, Like: target.File})
	if err != nil {
		return err
	}
	return errors.Join(target.Replace(staged), staged.Discard())
}

// reads hashes a file over and over while update runs, and counts what is neither
// all a nor all b.
func reads(t *testing.T, path string, update func(i int, content []byte) error, updates int) (all, torn int) {
	t.Helper()
	contents := [][]byte{bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 60_000)}
	if err := os.WriteFile(path, contents[1], 0o644); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
				torn++
			}
			all++
		}
	})
	for i := range updates {
		if err := update(i, contents[i%2]); err != nil {
			t.Errorf("update %d: %v", i, err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	return all, torn
}

// Whoever reads the file meanwhile sees the old or the new bytes. The
// negative control is a plain write.
func TestReaderSeesNoTornFile(t *testing.T) {
	path := filepath.Join(memory(t), "file")
	updates := times(100_000)
	all, torn := reads(t, path, func(_ int, content []byte) error { return replace(path, content, nil) }, updates)
	t.Logf("torn reads: %d of %d, over %d updates", torn, all, updates)
	if torn > 0 || all < updates/100 {
		t.Errorf("torn reads: %d of %d", torn, all)
	}
	all, torn = reads(t, path, func(_ int, content []byte) error { return os.WriteFile(path, content, 0o644) }, 5000)
	t.Logf("torn reads of a plain write: %d of %d", torn, all)
	if torn == 0 {
		t.Error("the control: a plain write was never seen torn")
	}
}

// Writers of this process exclude each other as those of others do, whether there
// is a file yet or not.
func TestWritersExcludeEachOther(t *testing.T) {
	for _, files := range []int{1, 2} { // 2: the negative control
		dir := memory(t)
		var inside, overlaps atomic.Int64
		hook := func(s Step) error {
			switch s {
			case StepCreate:
				if inside.Add(1) > 1 {
					overlaps.Add(1)
				}
			case StepSyncDir:
				inside.Add(-1)
			}
			return nil
		}
		var wg sync.WaitGroup
		for w := range 4 {
			path := filepath.Join(dir, fmt.Sprint("file", w%files))
			if files > 1 {
				_ = os.WriteFile(path, nil, 0o644) // else both wait for the folder once
			}
			wg.Go(func() {
				for range times(1000) {
					if err := replace(path, []byte("x"), hook); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if met := overlaps.Load() > 0; met != (files > 1) {
			t.Errorf("%d files: %d overlaps", files, overlaps.Load())
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != files {
			t.Errorf("left behind: %v, %v", entries, err)
		}
	}
}

// A target that is held for too long is an error that says so.
func TestLockWaitsForAnother(t *testing.T) {
	for _, exists := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "file")
		if exists {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		dir, err := OpenDir(filepath.Dir(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		held, err := dir.Lock(t.Context(), "file")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("too long"))
		if _, err := dir.Lock(ctx, "file"); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), path) ||
			!strings.Contains(err.Error(), "too long") {
			t.Errorf("exists %v: error %v", exists, err)
		}
		if err := held.Close(); err != nil {
			t.Error(err)
		}
		again, err := dir.Lock(t.Context(), "file")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(again.Close(), dir.Close()); err != nil {
			t.Error(err)
		}
	}
}

// A lock on a file that was replaced between open and lock is worth nothing.
func TestLockOfReplacedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(filepath.Dir(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, c := range map[string]struct {
		change func() error
		want   error
	}{
		"the same": {func() error { return nil }, nil},
		"replaced": {func() error { return replace(path, []byte("new"), nil) }, ErrBusy},
		"removed":  {func() error { return os.Remove(path) }, ErrBusy},
	} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if err := dir.lockedAndInPlace(f, "file"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		_ = f.Close()
		_ = os.WriteFile(path, nil, 0o644)
	}
}

// Somebody who prepares a staged file's name, or swaps the staged file, gains
// nothing.
func TestStagedFileOfAnother(t *testing.T) {
	path := t.TempDir()
	dir, err := OpenDir(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	name := TempName("target")
	if err := os.Symlink("elsewhere", filepath.Join(path, name)); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Stage(name, []byte("x"), Attrs{Mode: 0o600, UID: -1, GID: -1}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a prepared name: %v", err)
	}
	staged, err := dir.Stage(TempName("target"), []byte("x"), Attrs{Mode: 0o600, UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(staged.Path()), os.WriteFile(staged.Path(), []byte("evil"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := staged.Commit("file"); err == nil || !strings.Contains(err.Error(), "staged") {
		t.Errorf("a swapped file: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(path, "elsewhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the prepared link was followed: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(path, "file")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is in place: %v", err)
	}
}

func TestTempName(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		name := TempName("target")
		if seen[name] || !IsTempName(name) {
			t.Fatalf("%q", name)
		}
		seen[name] = true
	}
	good := TempName("target")
	for _, bad := range []string{"", "hosts", "../" + good, good + "x", good[:len(good)-1], strings.Replace(good, ".kv", ".kw", 1),
		good[:len(good)-1] + "/"} {
		if IsTempName(bad) {
			t.Errorf("%q passes for one of ours", bad)
		}
	}
}

// Whatever the operating system says, people hear what it is about and what to do.
func TestRemedies(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM,
		syscall.EIO} {
		err := Explain(&os.PathError{Op: "open", Path: "internal name", Err: errno})
		if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), errno.Error()+"; ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %q", errno, err)
		}
		if again := Explain(fmt.Errorf("set it: %w", err)); strings.Count(again.Error(), "; ") != strings.Count(err.Error(), "; ") {
			t.Errorf("said twice: %q", again)
		}
	}
	if err := Explain(&os.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}); !errors.Is(err, os.ErrNotExist) ||
		strings.Contains(err.Error(), ";") {
		t.Errorf("%q", err)
	}
	if err := Explain(nil); err != nil {
		t.Errorf("nothing is wrong, but %q", err)
	}
}
