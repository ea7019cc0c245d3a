package atomicfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// times is full in a soak, and a tenth of it otherwise.
func times(full int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return full
	}
	return max(1, full/10)
}

// locked opens and locks the target at path.
func locked(ctx context.Context, path string, hook FaultHook) (*Target, error) {
	target, err := Find(path, hook)
	if err != nil {
		return nil, err
	}
	if err := target.Lock(ctx, Waiting{}); err != nil {
		return nil, errors.Join(err, free(target))
	}
	return target, target.Open()
}

// free gives a target back.
func free(target *Target) error { return errors.Join(target.Close(), target.Dir.Close()) }

// replace does what an install does: lock, stage, put in place.
func replace(path string, content []byte, hook FaultHook) (err error) {
	target, err := locked(context.Background(), path, hook)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, free(target)) }()
	return target.Write(content, Attrs{Mode: 0o644, UID: -1, GID: -1, Like: target.File})
}

// A target that is locked for too long is an error that names the holder. Waiting.Show is called once.
func TestLockWaitsForAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	held, err := locked(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Find(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	shown := []string{}
	err = other.Lock(ctx, Waiting{Show: func(holder string) {
		shown = append(shown, holder)
		time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("too long")) })
	}})
	for _, word := range []string{path, ThisProcess, "too long"} {
		if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v, want %q in it", err, word)
		}
	}
	if len(shown) != 1 || shown[0] != ThisProcess {
		t.Errorf("shown: %q", shown)
	}
	if err := free(held); err != nil {
		t.Error(err)
	}
	if err := other.Lock(t.Context(), Waiting{}); err != nil {
		t.Errorf("a free lock: %v", err)
	}
	if err := free(other); err != nil {
		t.Error(err)
	}
	left(t, filepath.Dir(path))
}

// A folder that was removed is an error at once, and no reason to wait.
func TestLockInARemovedFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := Find(filepath.Join(dir, "file"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := target.Lock(ctx, Waiting{}); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	_ = target.Dir.Close()
}

// left wants these entries in a folder, and no others.
func left(t *testing.T, dir string, want ...string) {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("left: %q, %v; want %q", names, err, want)
	}
}

// A staged file that another file replaced is not put in place. Leftovers of a killed run in
// the lock folder are removed, and links there are not followed.
func TestStagedFileOfAnother(t *testing.T) {
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "file"), filepath.Join(dir, "elsewhere")
	old := filepath.Join(dir, lockName("file"))
	if err := errors.Join(os.MkdirAll(filepath.Join(old, "folder", "folder"), 0o700), os.WriteFile(filepath.Join(old, "x.tmp"), nil, 0o600),
		os.Symlink(elsewhere, filepath.Join(old, "file"))); err != nil {
		t.Fatal(err)
	}
	target, err := locked(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	staged, err := target.Stage([]byte("x"), Attrs{Mode: 0o600, UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(staged.Path()) != "file" {
		t.Errorf("staged as %s", staged.Path())
	}
	if err := errors.Join(os.Remove(staged.Path()), os.WriteFile(staged.Path(), []byte("evil"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := target.Replace(staged); err == nil || !strings.Contains(err.Error(), "staged") {
		t.Errorf("a swapped file: %v", err)
	}
	if err := errors.Join(staged.Discard(), free(target)); err != nil {
		t.Error(err)
	}
	left(t, dir)
}

// Another user swaps a folder that we make for a link to a file, at any moment: that file keeps its mode.
func TestMakeDirsSwapped(t *testing.T) {
	home, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	defer syscall.Umask(syscall.Umask(0o077)) // so that there is a mode to correct
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	made, link := filepath.Join(home, "new"), filepath.Join(home, "link")
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			_ = os.Symlink(victim, link)
			_ = unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
		}
	})
	failed := 0
	for range times(5000) {
		p, err := Find(filepath.Join(made, "file"), nil)
		if err == nil {
			if err = p.MakeDirs(); err == nil && p.Dir.path != made && p.Dir.path != link {
				t.Errorf("it made %s", p.Dir.path)
			}
			_ = p.Dir.Close()
		}
		if err != nil {
			failed++
		}
		_ = os.Remove(made)
		_ = os.Remove(link)
	}
	stop.Store(true)
	wg.Wait()
	if info, err := os.Stat(victim); err != nil || info.Mode() != 0o600 {
		t.Errorf("the victim has mode %v, %v", info.Mode(), err)
	}
	t.Logf("%d failed", failed)
}
