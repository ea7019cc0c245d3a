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

// Append makes changes durable, all or none, in one transaction: the pages are written and
// synced, then the head, and synced again. A full disk, a quota and a limit on file
// sizes give local.ErrNotWritten; after any other error nothing more is written.
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
	next, before, writing := j.tally, -1, false
	err := safely(func() error {
		return j.db.Update(func(tx *bolt.Tx) error {
			before = tx.ID() - 1
			err := next.apply(tx, changes)
			writing = err == nil
			return err
		})
	})
	if err == nil {
		j.tally = next
		return nil
	}
	clean := !errors.Is(err, errPanicked) && (!writing || noRoom(err) && j.stands(before))
	err = fmt.Errorf("write %s: %w", j.path, atomicfile.Explain(err))
	if clean {
		return fmt.Errorf("%w: %w", local.ErrNotWritten, err)
	}
	j.broken = err
	return err
}

// apply makes the changes in a transaction, and counts.
func (t *tally) apply(tx *bolt.Tx, changes []local.Change) error {
	var e edit
	for i := range t.buckets {
		e.buckets[i], e.totals[i] = tx.Bucket([]byte(dataBuckets()[i])), &t.buckets[i]
	}
	for i := range changes {
		c := &changes[i]
		for _, path := range c.Deleted {
			e.remove(0, path)
		}
		for _, r := range c.Rows {
			e.put(0, r.Path, putRow(r))
		}
		for _, g := range c.Graves {
			e.put(1, g.Path, putGrave(g))
		}
		for _, path := range c.Reaped {
			e.remove(1, path)
		}
		for _, s := range c.Sessions {
			e.put(2, s.ID, putSession(s))
		}
		for _, id := range c.Ended {
			e.remove(2, id)
		}
		t.note(c)
	}
	if e.err != nil {
		return e.err
	}
	return tx.Bucket([]byte(aboutBucket)).Put([]byte(tallyKey), t.put())
}

// edit changes the buckets and what they come to, up to the first error.
type edit struct {
	buckets [3]*bolt.Bucket
	totals  [3]*total
	err     error
}

func (e *edit) put(i int, name string, record []byte) {
	if e.err != nil {
		return
	}
	key := keyOf(name)
	e.totals[i].remove(e.buckets[i].Get(key))
	e.totals[i].add(record)
	e.err = e.buckets[i].Put(key, record)
}

func (e *edit) remove(i int, name string) {
	if e.err != nil {
		return
	}
	key := keyOf(name)
	e.totals[i].remove(e.buckets[i].Get(key))
	e.err = e.buckets[i].Delete(key)
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
