package publish

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"kvexpress/internal/gate"
	"kvexpress/internal/record"
	"kvexpress/internal/wait"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	full, over, link := filepath.Join(dir, "full"), filepath.Join(dir, "over"), filepath.Join(dir, "link")
	for path, size := range map[string]int64{file: 5, full: record.MaxPlain, over: record.MaxPlain + 1} {
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{file: 5, link: 5, full: record.MaxPlain} {
		if b, err := ReadFile(t.Context(), path); err != nil || len(b) != want {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	for path, want := range map[string]string{
		dir: "is a directory", fifo: "pipe it in", "/dev/null": "not a regular file",
		over: "16777217 bytes, at most 16777216", filepath.Join(dir, "none"): "none",
	} {
		b, err := ReadFile(t.Context(), path)
		if err == nil || b != nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %d bytes, %v, want %q", path, len(b), err, want)
		}
	}
	if _, err := ReadFile(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := ReadFile(t.Context(), dir); !errors.Is(err, ErrSource) {
		t.Errorf("directory: %v", err)
	}
}

func TestReadAll(t *testing.T) {
	if b, err := ReadAll(bytes.NewReader(make([]byte, record.MaxPlain))); err != nil || len(b) != record.MaxPlain {
		t.Errorf("full: %d bytes, %v", len(b), err)
	}
	_, err := ReadAll(bytes.NewReader(make([]byte, record.MaxPlain+1)))
	var r *gate.Refusal
	if !errors.As(err, &r) || r.Reason != gate.TooLarge || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("over: %v", err)
	}
	cause := errors.New("torn pipe")
	if b, err := ReadAll(iotest.ErrReader(cause)); !errors.Is(err, cause) || b != nil {
		t.Errorf("failing: %d bytes, %v", len(b), err)
	}
}

// A change of the file by another process during the read is noticed.
func TestReadFileThatIsRewritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		meanwhile func()
		changing  bool
	}{
		"nothing":  {func() {}, false},
		"in place": {func() { write(path, "other") }, true},
		"appended": {func() { write(path, "content and more") }, true},
		"in place, with the old time": {func() {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(path, "CONTENT")
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}, true},
		"renamed over": {func() {
			write(path+".new", "content")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, true},
		"removed": {func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			write(path, "content")
			if err := wait.For(t.Context(), 2*settled); err != nil { // another tick of the kernel's clock for files
				t.Fatal(err)
			}
			content, changing, err := readOnce(path, func(f *os.File, path string) ([]byte, error) {
				defer tt.meanwhile()
				return readRegular(f, path)
			})
			if err != nil || string(content) != "content" || changing != tt.changing {
				t.Errorf("%q, changing %t, %v", content, changing, err)
			}
		})
	}
	// A producer pauses halfway, with the file open.
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.WriteString("con")
	if err := errors.Join(err, wait.For(t.Context(), 2*settled)); err != nil {
		t.Fatal(err)
	}
	_, halfway, err := readOnce(path, readRegular)
	if runtime.GOOS == "linux" && !halfway || err != nil {
		t.Errorf("halfway: changing %t, %v", halfway, err)
	}
	if b, err := ReadFile(t.Context(), path); err != nil || string(b) != "con" { // it stays open, and rests
		t.Errorf("%q, %v", b, err)
	}
	if _, err := w.WriteString("tent"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), wait.For(t.Context(), 2*settled)); err != nil {
		t.Fatal(err)
	}
	if b, changing, err := readOnce(path, readRegular); err != nil || changing || string(b) != "content" {
		t.Errorf("%q, changing %t, %v", b, changing, err)
	}
	// The time of a file that was just written proves nothing. A slow machine may
	// need several attempts to be so quick.
	for n := 0; ; n++ {
		write(path, "content")
		if _, changing, err := readOnce(path, readRegular); err != nil || n == 1000 {
			t.Fatalf("a fresh file is never waited for: %v", err)
		} else if changing {
			break
		}
	}
	if b, err := ReadFile(t.Context(), path); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
	// One that never rests is refused.
	reads := 0
	_, err = readSettled(t.Context(), path, rereads()[:3], func(*os.File, string) ([]byte, error) {
		reads++
		write(path, strings.Repeat("x", reads))
		return nil, nil
	})
	var r *gate.Refusal
	if !errors.As(err, &r) || r.Reason != gate.Changing || !strings.Contains(err.Error(), path) || reads != 4 {
		t.Errorf("got %v after %d reads", err, reads)
	}
}
