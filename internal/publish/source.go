package publish

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"kvexpress/internal/codec"
	"kvexpress/internal/gate"
)

// ErrSource is a source that is not what content can be read from.
var ErrSource = errors.New("not a source of content")

// ReadFile reads a regular file of at most codec.MaxPlain bytes. Links are
// followed. The error names the file; it is a *gate.Refusal for one that is too
// large, and wraps ErrSource for what is no regular file.
func ReadFile(path string) ([]byte, error) {
	// Opening a FIFO without O_NONBLOCK would wait for a writer, for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read the content: %w", err)
	}
	content, err := readRegular(f, path)
	return content, errors.Join(err, f.Close())
}

func readRegular(f *os.File, path string) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the content: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory, %w; name one file", path, ErrSource)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file, %w; pipe it in, with - as the file", path, ErrSource)
	case info.Size() > codec.MaxPlain:
		return nil, tooLarge(path, fmt.Sprintf("%d bytes", info.Size()))
	}
	return readCapped(f, path)
}

// ReadAll reads standard input, or what stands for it, up to its end: at most
// codec.MaxPlain bytes. The error is a *gate.Refusal where there are more.
func ReadAll(r io.Reader) ([]byte, error) {
	return readCapped(r, "standard input")
}

// readCapped reads one byte more than is allowed, to tell "full" from "more".
func readCapped(r io.Reader, name string) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, codec.MaxPlain+1))
	if err != nil {
		return nil, fmt.Errorf("read the content from %s: %w", name, err)
	}
	if len(content) > codec.MaxPlain {
		return nil, tooLarge(name, fmt.Sprintf("more than %d bytes", codec.MaxPlain))
	}
	return content, nil
}

func tooLarge(name, size string) error {
	return &gate.Refusal{
		Reason: gate.TooLarge,
		Detail: fmt.Sprintf("%s has %s, at most %d are read", name, size, codec.MaxPlain),
		Remedy: "split it",
	}
}
