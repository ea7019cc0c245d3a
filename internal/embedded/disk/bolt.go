package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"syscall"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"kvexpress/internal/atomicfile"
)

// errPanicked: bbolt panicked, or touched a page that cannot be read.
var errPanicked = errors.New("the file is damaged, or can no longer be read")

// safely runs code that works on mapped pages. A fault or a panic is an error. All that
// bbolt is used for here it does in the caller's goroutine.
func safely(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanicked, r)
		}
	}()
	return f()
}

// database is a file that bbolt has open.
type database struct {
	*bolt.DB

	file *os.File
}

// openBolt opens or makes a file.
func openBolt(path string, o bolt.Options) (*database, error) {
	db := &database{}
	o.Timeout, o.FreelistType = lockWait, bolt.FreelistMapType
	o.OpenFile = func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		db.file, err = os.OpenFile(name, flag, mode)
		return db.file, err
	}
	err := safely(func() (err error) { db.DB, err = bolt.Open(path, 0o600, &o); return err })
	if err != nil && db.file != nil {
		_ = db.close(errPanicked) // bbolt has closed it unless it panicked
	}
	errno := syscall.Errno(0)
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout): // a tool of bbolt's has it
		return nil, inUse(path)
	case errors.As(err, &errno):
		return nil, fmt.Errorf("open %s: %w", path, atomicfile.Explain(err))
	default:
		return nil, damaged(path, err)
	}
}

// close ends it. After a panic bbolt may hold its own locks for good: then the file alone is closed.
func (db *database) close(after error) error {
	if errors.Is(after, errPanicked) {
		return errors.Join(syscall.Flock(int(db.file.Fd()), syscall.LOCK_UN), db.file.Close())
	}
	return db.Close()
}

// head is the number of the transaction that is in the file; -1 if it cannot be read.
func (db *database) head() int {
	id := -1
	_ = safely(func() error { return db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }) })
	return id
}

// noRoom reports whether a transaction failed at a write, and not at a sync, for want of room.
//
// bbolt writes in this order: the file is made larger and synced, pages, sync, head, sync.
// A failure before the head leaves no trace in it. But a failed sync may have dropped
// pages of an earlier one, and tells of it once: only writes are taken for
// harmless. The error of a write has the path in it, that of a sync has not; that of the file's size is text.
func noRoom(err error) bool {
	write := (*fs.PathError)(nil)
	return strings.HasPrefix(err.Error(), "file resize error: ") || errors.As(err, &write) && write.Op == "write" && full(err)
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
