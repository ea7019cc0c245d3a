package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/embedded"
)

// The buckets of the file. A record contains its name, and keyOf makes its key from the name.
const (
	aboutBucket = "about" // has one record, without a name
	rowsBucket  = "rows"
)

// Format is the version of buckets and records.
const Format = 5

const (
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

// about is the summary record of the store. Each batch writes it.
type about struct {
	format          uint64
	index, deletion uint64 // see embedded.Saved
	sum             uint64 // of the CRCs of all rows; it detects rows that damaged pages lost, or replaced by older ones
}

func (a *about) put() []byte { return seal("", nil, a.format, a.index, a.deletion, a.sum) }

func (a *about) get(b []byte) error {
	_, _, err := unseal(b, &a.format, &a.index, &a.deletion, &a.sum)
	return err
}

// apply writes changes in a transaction.
func (a *about) apply(tx *bolt.Tx, changes []embedded.Change) error {
	rows := tx.Bucket([]byte(rowsBucket))
	var errs []error
	forget := func(key []byte) {
		if old := rows.Get(key); old != nil {
			a.sum -= sumOf(old)
		}
	}
	for i := range changes {
		c := &changes[i]
		a.index = c.Index
		for _, path := range c.Deleted {
			a.deletion = c.Index
			forget(keyOf(path))
			errs = append(errs, rows.Delete(keyOf(path)))
		}
		for _, r := range c.Rows {
			record := putRow(r)
			forget(keyOf(r.Path))
			a.sum += sumOf(record)
			errs = append(errs, rows.Put(keyOf(r.Path), record))
		}
	}
	errs = append(errs, tx.Bucket([]byte(aboutBucket)).Put(keyOf(""), a.put()))
	return errors.Join(errs...)
}
