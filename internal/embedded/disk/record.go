package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/embedded"
)

// The buckets of the file. A record contains its name, and keyOf makes its key from the name.
const (
	aboutBucket      = "about" // has one record, without a name
	rowsBucket       = "rows"
	tombstonesBucket = "tombstones"
)

const (
	format  = 4   // the version of buckets and records
	longest = 512 // bytes of a name; a longer one is hashed, because bbolt limits keys and is slow with long ones
	number  = 8   // bytes
	header  = 8   // bytes: CRC and length
)

var errRecord = errors.New("the record is invalid")

// seal encodes a record: CRC-32C of the rest, length of the name, numbers, name and, unless the value is nil, a zero byte and the
// value.
func seal(name string, value []byte, numbers ...uint64) []byte {
	b := make([]byte, header, header+number*len(numbers)+len(name)+1+len(value))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(name)))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	if b = append(b, name...); value != nil {
		b = append(append(b, 0), value...)
	}
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// unseal verifies and decodes a record. It does not keep b.
func unseal(b []byte, numbers ...*uint64) (name string, value []byte, err error) {
	rest := len(b) - header - number*len(numbers)
	if rest < 0 || sumOf(b) != uint64(crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli))) {
		return "", nil, errRecord
	}
	length := uint64(binary.LittleEndian.Uint32(b[4:]))
	if length > uint64(rest) {
		return "", nil, errRecord
	}
	b = b[header:]
	for _, n := range numbers {
		*n, b = binary.LittleEndian.Uint64(b), b[number:]
	}
	if name, b = string(b[:length]), b[length:]; len(b) > 0 {
		value = append([]byte{}, b[1:]...)
	}
	return name, value, nil
}

// sumOf is the CRC in a record.
func sumOf(record []byte) uint64 { return uint64(binary.LittleEndian.Uint32(record)) }

// keyOf returns the key of a name, which may be empty.
func keyOf(name string) []byte {
	if len(name) > longest {
		hash := sha256.Sum256([]byte(name))
		return append([]byte{'#'}, hash[:]...)
	}
	return append([]byte{'='}, name...)
}

func putRow(r *embedded.Row) []byte {
	return seal(r.Path, r.Value, r.Flags, r.CreateIndex, r.ModifyIndex)
}

func getRow(b []byte) (*embedded.Row, error) {
	var r embedded.Row
	var err error
	r.Path, r.Value, err = unseal(b, &r.Flags, &r.CreateIndex, &r.ModifyIndex)
	return &r, err
}

func putTombstone(g embedded.Tombstone) []byte {
	return seal(g.Path, nil, g.Index, uint64(g.At.UnixNano()))
}

func getTombstone(b []byte) (g embedded.Tombstone, err error) {
	var at uint64
	g.Path, _, err = unseal(b, &g.Index, &at)
	g.At = time.Unix(0, int64(at)).UTC()
	return g, err
}

// about is the summary record of the store. Each batch writes it.
type about struct {
	format        uint64
	index, tables uint64 // of the last change, and of the last one to the tables
	sum           uint64 // of the CRCs of all records; it detects records that damaged pages lost, or replaced by older ones
}

func (a *about) put() []byte { return seal("", nil, a.format, a.index, a.tables, a.sum) }

func (a *about) get(b []byte) error {
	_, _, err := unseal(b, &a.format, &a.index, &a.tables, &a.sum)
	return err
}

// apply writes changes in a transaction.
func (a *about) apply(tx *bolt.Tx, changes []embedded.Change) error {
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
		for _, g := range c.Tombstones {
			put(tombstonesBucket, g.Path, putTombstone(g))
		}
		for _, path := range c.Reaped {
			put(tombstonesBucket, path, nil)
		}
		if a.index = c.Index; c.Tables() {
			a.tables = c.Index
		}
	}
	errs = append(errs, tx.Bucket([]byte(aboutBucket)).Put(keyOf(""), a.put()))
	return errors.Join(errs...)
}
