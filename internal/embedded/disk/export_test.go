package disk

import (
	"encoding/binary"
	"hash/crc32"
)

// AboutOf is the record of an empty store of a format.
func AboutOf(version uint64) []byte { return (&about{format: version}).put() }

// Again is a record that was read as a row, written anew.
func Again(record []byte) ([]byte, error) {
	r, err := getRow(record)
	return putRow(r), err
}

// Sealed is a copy of b whose CRC is right.
func Sealed(b []byte) []byte {
	b = append(make([]byte, 0, max(len(b), header)), b...)
	b = b[:max(len(b), header)]
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}
