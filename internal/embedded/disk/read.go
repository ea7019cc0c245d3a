package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/embedded"
)

// content is the verified content of a file.
type content struct {
	about
	saved embedded.Saved
	pages map[uint64]bool // pages of the trees
	place string          // position of the last record, for errors
}

// read reads and verifies every record of a file.
func read(db *database) (*content, error) {
	c := &content{pages: map[uint64]bool{}, place: "before the first record"}
	err := safely(func() error { return db.View(func(tx *bolt.Tx) error { return c.read(tx, db) }) })
	switch {
	case errors.Is(err, errPanicked):
		return nil, damaged(db.Path(), fmt.Errorf("%s: %w", c.place, err))
	case errors.Is(err, ErrFolder):
		return nil, fmt.Errorf("%s: %w", db.Path(), err)
	case err != nil:
		return nil, damaged(db.Path(), err)
	}
	c.saved.Index, c.saved.Deletion = c.index, c.deletion
	return c, nil
}

func (c *content) read(tx *bolt.Tx, db *database) error {
	if err := c.visitOnce(db, uint64(tx.Cursor().Bucket().Root())); err != nil {
		return err
	}
	err := c.bucket(tx, db, aboutBucket, func(b []byte) (string, error) {
		err := c.get(b)
		if err == nil && c.format != Format {
			err = fmt.Errorf("%w: its format is %d, this kvexpress reads %d; use the version of kvexpress that wrote it",
				ErrFolder, c.format, Format)
		}
		return "", err
	})
	if err != nil {
		return err
	}
	sum := uint64(0)
	err = c.bucket(tx, db, rowsBucket, func(b []byte) (string, error) {
		r, err := getRow(b)
		if err == nil {
			sum += sumOf(b)
		}
		c.saved.Rows = append(c.saved.Rows, r)
		return r.Path, err
	})
	if err == nil && sum != c.sum {
		err = fmt.Errorf("bucket %s: each record is valid, but some are missing or outdated", rowsBucket)
	}
	return err
}

// bucket reads the records of a bucket. take verifies one and returns its name.
func (c *content) bucket(tx *bolt.Tx, db *database, name string, take func(record []byte) (string, error)) error {
	bucket := tx.Bucket([]byte(name))
	if bucket == nil {
		return fmt.Errorf("bucket %s is missing", name)
	}
	if root := uint64(bucket.Root()); root != 0 { // else it is inside the page of its parent
		if err := c.visitOnce(db, root); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	return bucket.ForEach(func(key, record []byte) error {
		owner, err := take(record)
		if err == nil && !bytes.Equal(key, keyOf(owner)) {
			err = fmt.Errorf("%w: it belongs to %q", errRecord, owner)
		}
		if err != nil {
			return fmt.Errorf("bucket %s, key %q: %w", name, key, err)
		}
		c.place = fmt.Sprintf("bucket %s, after key %q", name, key)
		return nil
	})
}

// The layout of bbolt's pages, in bytes: a header with flags and a count, then elements. An element of a branch page ends with
// the number of a child page.
const (
	pageHead, flagsAt, countAt = 16, 8, 10
	elementSize, childAt       = 16, 8
	leafPage                   = 2 // bbolt treats any other page as a branch
)

// visitOnce checks that no page below page is used twice. bbolt would follow a cycle until the memory is used up, which no
// recover stops.
func (c *content) visitOnce(db *database, page uint64) error {
	if c.pages[page] {
		return fmt.Errorf("page %d is used twice", page)
	}
	c.pages[page] = true
	at, head := int64(page)*int64(db.Info().PageSize), make([]byte, pageHead)
	_, err := db.file.ReadAt(head, at)
	if err != nil || binary.NativeEndian.Uint16(head[flagsAt:])&leafPage != 0 {
		return err
	}
	elements := make([]byte, elementSize*int(binary.NativeEndian.Uint16(head[countAt:])))
	_, err = db.file.ReadAt(elements, at+pageHead)
	for ; err == nil && len(elements) > 0; elements = elements[elementSize:] {
		err = c.visitOnce(db, binary.NativeEndian.Uint64(elements[childAt:]))
	}
	return err
}
