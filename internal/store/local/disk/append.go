package disk

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/store/local"
)

// Append makes changes durable, all or none, by one transaction. A full disk, a quota and a
// limit on file sizes give local.ErrNotWritten; after any other error nothing more is written.
func (j *Journal) Append(changes []local.Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.broken != nil:
		return j.broken
	case j.db == nil || j.read != nil:
		return fmt.Errorf("%w: the journal is not open", local.ErrNotWritten)
	case len(changes) == 0:
		return nil
	}
	before, next := 0, j.about
	err := safely(func() error {
		return j.db.Update(func(tx *bolt.Tx) error {
			before = tx.ID() - 1
			return next.apply(tx, changes)
		})
	})
	if err == nil {
		j.about = next
		return nil
	}
	clean := noRoom(err) && j.db.head() == before
	err = fmt.Errorf("write %s: %w", j.path, atomicfile.Explain(err))
	if clean {
		return fmt.Errorf("%w: %w", local.ErrNotWritten, err)
	}
	j.broken = err
	return err
}

// apply makes changes in a transaction.
func (a *about) apply(tx *bolt.Tx, changes []local.Change) error {
	var errs []error
	put := func(bucket, name string, record []byte) { // nil deletes it
		b, key := tx.Bucket([]byte(bucket)), keyOf(name)
		if old := b.Get(key); old != nil {
			a.sum -= sumOf(old)
		}
		if record == nil {
			errs = append(errs, b.Delete(key))
			return
		}
		a.sum += sumOf(record)
		errs = append(errs, b.Put(key, record))
	}
	for i := range changes {
		c := &changes[i]
		for _, path := range c.Deleted {
			put(rowsBucket, path, nil)
		}
		for _, r := range c.Rows {
			put(rowsBucket, r.Path, putRow(r))
		}
		for _, g := range c.Graves {
			put(gravesBucket, g.Path, putGrave(g))
		}
		for _, path := range c.Reaped {
			put(gravesBucket, path, nil)
		}
		if a.index = c.Index; c.Tables() {
			a.tables = c.Index
		}
	}
	errs = append(errs, tx.Bucket([]byte(aboutBucket)).Put(keyOf(""), a.put()))
	return errors.Join(errs...)
}
