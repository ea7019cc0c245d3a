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
	c.saved.Index, c.saved.Tables = c.index, c.tables
	return c, nil
}

func (c *content) read(tx *bolt.Tx, db *database) error {
	sum := uint64(0)
	parts := []struct {
		bucket string
		take   func(record []byte) (name string, err error)
	}{
		{aboutBucket, func(b []byte) (string, error) {
			err := c.get(b)
			if err == nil && c.format != format {
				err = fmt.Errorf("%w: its format is %d, this kvexpress reads %d; use the version of kvexpress that wrote it",
					ErrFolder, c.format, format)
			}
			return "", err
		}},
		{rowsBucket, func(b []byte) (string, error) {
			r, err := getRow(b)
			c.saved.Rows = append(c.saved.Rows, r)
			return r.Path, err
		}},
		{tombstonesBucket, func(b []byte) (string, error) {
			g, err := getTombstone(b)
			c.saved.Tombstones = append(c.saved.Tombstones, g)
			return g.Path, err
		}},
	}
	if err := c.visitOnce(db, uint64(tx.Cursor().Bucket().Root())); err != nil {
		return err
	}
	for _, part := range parts {
		bucket := tx.Bucket([]byte(part.bucket))
		if bucket == nil {
			return fmt.Errorf("bucket %s is missing", part.bucket)
		}
		if root := uint64(bucket.Root()); root != 0 { // else it is inside the page of its parent
			if err := c.visitOnce(db, root); err != nil {
				return fmt.Errorf("bucket %s: %w", part.bucket, err)
			}
		}
		err := bucket.ForEach(func(key, record []byte) error {
			name, err := part.take(record)
			if err == nil && !bytes.Equal(key, keyOf(name)) {
				err = fmt.Errorf("%w: it belongs to %q", errRecord, name)
			}
			if err != nil {
				return fmt.Errorf("bucket %s, key %q: %w", part.bucket, key, err)
			}
			if c.place = fmt.Sprintf("bucket %s, after key %q", part.bucket, key); part.bucket != aboutBucket {
				sum += sumOf(record)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if sum != c.sum {
		return fmt.Errorf("buckets %s and %s: each record is valid, but some are missing or outdated", rowsBucket, tombstonesBucket)
	}
	return nil
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
