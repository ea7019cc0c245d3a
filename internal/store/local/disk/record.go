package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"kvexpress/internal/store/local"
)

// A record is its payload's length and CRC-32C, four bytes each with the lowest first,
// and the payload: a byte for its kind, then the fields in the order of their types. Numbers
// are varints; a string has its length in front; bytes and lists have their length
// plus one, and 0 where they are nil.
const header = 8

// kind says what a record holds.
type kind byte

const (
	kindRow     kind = 'r'
	kindGrave   kind = 'g'
	kindSession kind = 's'
	kindTally   kind = 't'
	kindFormat  kind = 'f'
	kindLabel   kind = 'l'
)

var errRecord = errors.New("the record does not verify")

// castagnoli gives the table that crc32 keeps for itself.
func sum(payload []byte) uint32 {
	return crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))
}

// seal makes a record of a payload that was built behind header bytes.
func seal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-header))
	binary.LittleEndian.PutUint32(b[4:], sum(b[header:]))
	return b
}

// unseal verifies a record of a kind and returns a reader of its fields.
func unseal(b []byte, want kind) (*fields, error) {
	if len(b) <= header || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)-header) ||
		binary.LittleEndian.Uint32(b[4:]) != sum(b[header:]) || kind(b[header]) != want {
		return nil, errRecord
	}
	return &fields{rest: b[header+1:]}, nil
}

// sumOf is the CRC in a record's header; 0 if it has none.
func sumOf(record []byte) uint32 {
	if len(record) < header {
		return 0
	}
	return binary.LittleEndian.Uint32(record[4:])
}

func begin(k kind, size int) []byte {
	return append(make([]byte, header, header+64+size), byte(k))
}

func putRow(r *local.Row) []byte {
	b := begin(kindRow, len(r.Path)+len(r.Value)+len(r.Session))
	b = appendString(b, r.Path)
	b = appendBytes(b, r.Value)
	b = binary.AppendUvarint(b, r.Flags)
	b = appendString(b, r.Session)
	b = binary.AppendUvarint(b, r.LockIndex)
	b = binary.AppendUvarint(b, r.CreateIndex)
	return seal(binary.AppendUvarint(b, r.ModifyIndex))
}

// getRow reads a row. It keeps nothing of b.
func getRow(b []byte) (*local.Row, error) {
	f, err := unseal(b, kindRow)
	if err != nil {
		return nil, err
	}
	r := &local.Row{
		Path: f.text(), Value: f.bytes(), Flags: f.number(), Session: f.text(),
		LockIndex: f.number(), CreateIndex: f.number(), ModifyIndex: f.number(),
	}
	return r, f.end()
}

func putGrave(g local.Grave) []byte {
	b := begin(kindGrave, len(g.Path))
	b = appendString(b, g.Path)
	b = binary.AppendUvarint(b, g.Index)
	b = binary.AppendVarint(b, g.At.Unix())
	return seal(binary.AppendUvarint(b, uint64(g.At.Nanosecond())))
}

func getGrave(b []byte) (local.Grave, error) {
	f, err := unseal(b, kindGrave)
	if err != nil {
		return local.Grave{}, err
	}
	g := local.Grave{Path: f.text(), Index: f.number()}
	seconds, nanoseconds := f.signed(), f.number()
	if nanoseconds >= uint64(time.Second) {
		return g, errRecord
	}
	g.At = time.Unix(seconds, int64(nanoseconds)).UTC()
	return g, f.end()
}

func putSession(s *local.Session) []byte {
	b := begin(kindSession, 64)
	b = appendString(b, s.ID)
	b = appendString(b, s.Name)
	b = appendString(b, s.Node)
	b = binary.AppendVarint(b, int64(s.LockDelay))
	b = appendString(b, s.Behavior)
	b = appendString(b, s.TTL)
	b = appendLength(b, len(s.NodeChecks), s.NodeChecks == nil)
	for _, c := range s.NodeChecks {
		b = appendString(b, c)
	}
	b = appendLength(b, len(s.ServiceChecks), s.ServiceChecks == nil)
	for _, c := range s.ServiceChecks {
		b = appendString(appendString(b, c.ID), c.Namespace)
	}
	b = binary.AppendUvarint(b, s.CreateIndex)
	return seal(binary.AppendUvarint(b, s.ModifyIndex))
}

func getSession(b []byte) (*local.Session, error) {
	f, err := unseal(b, kindSession)
	if err != nil {
		return nil, err
	}
	s := &local.Session{
		ID: f.text(), Name: f.text(), Node: f.text(), LockDelay: time.Duration(f.signed()),
		Behavior: f.text(), TTL: f.text(),
	}
	if n, isNil := f.length(); !isNil {
		s.NodeChecks = make([]string, n)
		for i := range s.NodeChecks {
			s.NodeChecks[i] = f.text()
		}
	}
	if n, isNil := f.length(); !isNil {
		s.ServiceChecks = make([]local.ServiceCheck, n)
		for i := range s.ServiceChecks {
			s.ServiceChecks[i] = local.ServiceCheck{ID: f.text(), Namespace: f.text()}
		}
	}
	s.CreateIndex, s.ModifyIndex = f.number(), f.number()
	return s, f.end()
}

// longest is the longest name that is a key as it is: bbolt has a limit, and its pages are
// slow with long keys.
const longest = 512

// keyOf is the key of a path or id, which may be empty or of any length.
func keyOf(name string) []byte {
	if len(name) > longest {
		hash := sha256.Sum256([]byte(name))
		return append([]byte{'#'}, hash[:]...)
	}
	return append([]byte{'='}, name...)
}
