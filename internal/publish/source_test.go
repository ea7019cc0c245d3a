package publish

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"kvexpress/internal/codec"
	"kvexpress/internal/gate"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	full, over, link := filepath.Join(dir, "full"), filepath.Join(dir, "over"), filepath.Join(dir, "link")
	for path, size := range map[string]int64{file: 5, full: codec.MaxPlain, over: codec.MaxPlain + 1} {
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{file: 5, link: 5, full: codec.MaxPlain} {
		if b, err := ReadFile(path); err != nil || len(b) != want {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	for path, want := range map[string]string{
		dir: "is a directory", fifo: "with - as the file", "/dev/null": "no regular file",
		over: "16777217 bytes, at most 16777216", filepath.Join(dir, "none"): "none",
	} {
		b, err := ReadFile(path)
		if err == nil || b != nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %d bytes, %v, want %q", path, len(b), err, want)
		}
	}
	if _, err := ReadFile(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := ReadFile(dir); !errors.Is(err, ErrSource) {
		t.Errorf("directory: %v", err)
	}
}

func TestReadAll(t *testing.T) {
	if b, err := ReadAll(bytes.NewReader(make([]byte, codec.MaxPlain))); err != nil || len(b) != codec.MaxPlain {
		t.Errorf("full: %d bytes, %v", len(b), err)
	}
	_, err := ReadAll(bytes.NewReader(make([]byte, codec.MaxPlain+1)))
	var r *gate.Refusal
	if !errors.As(err, &r) || r.Reason != gate.TooLarge || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("over: %v", err)
	}
	cause := errors.New("torn pipe")
	if b, err := ReadAll(iotest.ErrReader(cause)); !errors.Is(err, cause) || b != nil {
		t.Errorf("failing: %d bytes, %v", len(b), err)
	}
}
