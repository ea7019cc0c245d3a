package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/store/local"
)

// errPanicked is bbolt's way to say that what it has mapped is damaged.
var errPanicked = errors.New("the file is damaged, or can no longer be read")

// Append makes changes durable, all or none, by one record of the log and one sync. When
// the log is full, all that is in it goes into bbolt first, in one transaction. A full disk, a
// quota and a limit on file sizes give local.ErrNotWritten; after any other error nothing
// more is written.
func (j *Journal) Append(changes []local.Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.broken != nil:
		return j.broken
	case j.db == nil || !j.loaded:
		return fmt.Errorf("%w: the journal is not open", local.ErrNotWritten)
	case len(changes) == 0:
		return nil
	}
	number := j.pending.number + 1
	record := putBatch(j.log.label, number, changes)
	if !j.log.fits(record) {
		if err := j.checkpoint(); err != nil {
			return err
		}
	}
	if !j.log.fits(record) { // larger than the whole log
		j.pending.add(number, changes)
		err := j.checkpoint()
		if err != nil {
			j.pending = newFold(j.tally.marks)
		}
		return err
	}
	if clean, err := j.log.append(record); err != nil {
		return j.failed(j.log.path, clean, err)
	}
	j.pending.add(number, changes)
	return nil
}

// checkpoint brings all that is in the log into bbolt, which writes and syncs the pages, and
// then the head. Only after that the log begins anew.
func (j *Journal) checkpoint() error {
	if j.pending.number == j.tally.number {
		return nil
	}
	next, before, writing := j.tally, -1, false
	err := safely(func() error {
		return j.db.Update(func(tx *bolt.Tx) error {
			before = tx.ID() - 1
			err := j.pending.write(tx, &next)
			writing = err == nil
			return err
		})
	})
	if err != nil {
		return j.failed(j.path, !errors.Is(err, errPanicked) && (!writing || noRoom(err) && j.stands(before)), err)
	}
	j.tally, j.pending, j.log.end = next, newFold(next.marks), logStart
	return nil
}

// failed is the error of a write. Unless it is clean, so that surely nothing was written,
// it is the last.
func (j *Journal) failed(path string, clean bool, err error) error {
	err = fmt.Errorf("write %s: %w", path, atomicfile.Explain(err))
	if clean {
		return fmt.Errorf("%w: %w", local.ErrNotWritten, err)
	}
	j.broken = err
	return err
}

// noRoom reports whether bbolt failed at a write, and not at a sync, for want of room.
//
// It writes in this order: the file is made larger and synced, pages, sync, head, sync.
// What fails before the head leaves no trace in it, but a failed sync may have dropped
// pages that an earlier one had left, and tells of it once: only writes are taken for
// harmless. A write has the path in its error, a sync has not; that of the file's size is text.
func noRoom(err error) bool {
	if strings.HasPrefix(err.Error(), "file resize error: ") {
		return true
	}
	return noRoomToWrite(err)
}

// noRoomToWrite reports whether a write failed for want of room.
func noRoomToWrite(err error) bool {
	write := (*fs.PathError)(nil)
	return errors.As(err, &write) && write.Op == "write" &&
		slices.ContainsFunc([]syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// stands reports whether the head is still that of a transaction: that a write of the
// next one's did not get into it.
func (j *Journal) stands(id int) bool {
	now := -1
	err := safely(func() error {
		return j.db.View(func(tx *bolt.Tx) error {
			now = tx.ID()
			return nil
		})
	})
	return err == nil && id >= 0 && now == id
}

// panicked reports whether bbolt did, so that its locks may be held for good.
func (j *Journal) panicked() bool { return errors.Is(j.broken, errPanicked) }

// safely runs what works on mapped pages. A page that cannot be read, or that makes bbolt
// panic, is an error.
func safely(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanicked, r)
		}
	}()
	return f()
}
