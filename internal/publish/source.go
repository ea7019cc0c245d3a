package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/gate"
	"kvexpress/internal/record"
	"kvexpress/internal/wait"
)

// ErrSource is a source that cannot be read as content.
var ErrSource = errors.New("not a source of content")

// settled is how long a file must be unchanged before it is read: a little more than one tick
// of the kernel's clock for files (at most 10 ms). Two writes within a tick have the same time.
const settled = 12 * time.Millisecond

// settledOpen is the same for a file that a process still has open for writing: it may be halfway. It is less than the
// rereads take in sum, so that a file that stays open can be published.
const settledOpen = 3 * time.Second

// rereads are the pauses between the attempts to read a file that is being rewritten.
func rereads() []time.Duration {
	return []time.Duration{
		settled, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond,
		400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond,
	}
}

// ReadFile reads a regular file of at most record.MaxPlain bytes. Links are
// followed. A file that changes during the read, or that a process has open for writing and
// changed less than 3 s ago, is read again, for about 3 s. The error
// names the file; it is a *gate.Refusal if the file is too large or keeps
// changing, and wraps ErrSource if it is not a regular file.
func ReadFile(ctx context.Context, path string) ([]byte, error) {
	return readSettled(ctx, path, rereads(), readRegular)
}

func readSettled(ctx context.Context, path string, pauses []time.Duration, read func(*os.File, string) ([]byte, error)) (
	content []byte, err error) {
	changing := false
	err = wait.Again(ctx, nil, pauses, func() (bool, error) {
		content, changing, err = readOnce(path, read)
		return changing, err
	})
	if err == nil && changing {
		err = &gate.Refusal{
			Reason: gate.Changing, Detail: path + " is being rewritten",
			Remedy: "write the new content to another file in that folder and rename it",
		}
	}
	if err != nil {
		return nil, err
	}
	return content, nil
}

// readOnce reports whether the file changed while it was read, or just before.
func readOnce(path string, read func(*os.File, string) ([]byte, error)) (content []byte, changing bool, err error) {
	// Opening a FIFO without O_NONBLOCK would wait for a writer, for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, fmt.Errorf("read the content: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var before, after, now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &before); err != nil {
		return nil, false, fmt.Errorf("read the content of %s: %w", path, err)
	}
	open := openForWriting(f)
	if content, err = read(f, path); err != nil {
		return nil, false, err
	}
	lost := errors.Join(unix.Fstat(int(f.Fd()), &after), unix.Stat(path, &now)) // if it was removed, the next attempt says so
	age, rest := time.Since(time.Unix(before.Ctim.Unix())), settled
	if open {
		rest = settledOpen
	}
	fresh := age >= 0 && age < rest // one in the future has another machine's clock
	return content, fresh || lost != nil || stampOf(before) != stampOf(after) || stampOf(before) != stampOf(now), nil
}

// stamp changes with the content of a file.
type stamp struct {
	inode        uint64
	size         int64
	mtime, ctime unix.Timespec
}

func stampOf(st unix.Stat_t) stamp {
	return stamp{inode: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
}

func readRegular(f *os.File, path string) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the content: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory, %w; name one file", path, ErrSource)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file, %w; pipe it in with -f -", path, ErrSource)
	case info.Size() > record.MaxPlain:
		return nil, tooLarge(path, fmt.Sprintf("%d bytes", info.Size()))
	}
	return readCapped(f, path)
}

// ReadAll reads standard input up to its end: at most
// record.MaxPlain bytes. The error is a *gate.Refusal if there are more.
func ReadAll(r io.Reader) ([]byte, error) {
	return readCapped(r, "standard input")
}

// readCapped reads one byte more than is allowed, to tell "full" from "more".
func readCapped(r io.Reader, name string) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, record.MaxPlain+1))
	if err != nil {
		return nil, fmt.Errorf("read the content from %s: %w", name, err)
	}
	if len(content) > record.MaxPlain {
		return nil, tooLarge(name, fmt.Sprintf("more than %d bytes", record.MaxPlain))
	}
	return content, nil
}

func tooLarge(name, size string) error {
	return &gate.Refusal{
		Reason: gate.TooLarge,
		Detail: fmt.Sprintf("%s has %s, at most %d are read", name, size, record.MaxPlain),
		Remedy: "split it",
	}
}
