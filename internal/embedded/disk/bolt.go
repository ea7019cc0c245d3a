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

// errPanicked: bbolt panicked, or a mapped page cannot be read.
var errPanicked = errors.New("the file is damaged or unreadable")

// safely runs code that reads mapped pages, and turns a page fault or a panic into an error. Every bbolt call of this package
// works in the caller's goroutine.
func safely(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanicked, r)
		}
	}()
	return f()
}

// database is an open bbolt file.
type database struct {
	*bolt.DB

	file *os.File
}

// openBolt opens or creates a file.
func openBolt(path string, o bolt.Options) (*database, error) {
	db := &database{}
	o.Timeout, o.FreelistType = lockWait, bolt.FreelistMapType
	o.OpenFile = func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		db.file, err = os.OpenFile(name, flag, mode)
		return db.file, err
	}
	err := safely(func() (err error) { db.DB, err = bolt.Open(path, 0o600, &o); return err })
	if err != nil && db.file != nil {
		_ = db.close(errPanicked) // bbolt closed it unless it panicked
	}
	errno := syscall.Errno(0)
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout): // a bbolt tool has it open
		return nil, inUse(path)
	case errors.As(err, &errno):
		return nil, fmt.Errorf("open %s: %w", path, atomicfile.Explain(err))
	default:
		return nil, damaged(path, err)
	}
}

// close closes the database. After a panic bbolt may never release its internal locks: then close only closes the file.
func (db *database) close(after error) error {
	if errors.Is(after, errPanicked) {
		return errors.Join(syscall.Flock(int(db.file.Fd()), syscall.LOCK_UN), db.file.Close())
	}
	return db.Close()
}

// lastTxn is the id of the last transaction in the file; -1 if it cannot be read.
func (db *database) lastTxn() int {
	id := -1
	_ = safely(func() error { return db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }) })
	return id
}

// noRoom reports whether a transaction failed because a write, not a sync, found no space.
//
// bbolt grows and syncs the file, writes pages, syncs, writes the meta page, and syncs. A write that fails before the meta page
// leaves the store as it was. A failed sync is different: the kernel may have dropped pages of earlier writes, and reports it
// only once. The error of a write is a *fs.PathError, the error of a sync is not, and the error of growing the file is only text.
func noRoom(err error) bool {
	write := (*fs.PathError)(nil)
	return strings.HasPrefix(err.Error(), "file resize error: ") || errors.As(err, &write) && write.Op == "write" && full(err)
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
