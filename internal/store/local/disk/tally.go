package disk

import (
	"encoding/binary"

	"kvexpress/internal/store/local"
)

// tally is what all records come to. It is written with each batch, so that records
// that are lost, or are those of an older time, are noticed though each verifies.
type tally struct {
	marks
	buckets [3]total // in the order of dataBuckets
}

// marks say up to where something goes.
type marks struct {
	number                  uint64 // of the last batch, from 1 on
	index, tables, sessions uint64 // of the last change, and of those to the tables and to the sessions
}

// total is what the records of a bucket come to.
type total struct {
	count uint64
	sums  uint64 // their CRCs, added up
}

func (t *total) add(record []byte) { t.count++; t.sums += uint64(sumOf(record)) }

// remove takes a record out, if there is one.
func (t *total) remove(record []byte) {
	if record != nil {
		t.count--
		t.sums -= uint64(sumOf(record))
	}
}

func (t *tally) put() []byte {
	b := begin(kindTally, 64)
	for _, v := range []uint64{t.number, t.index, t.tables, t.sessions} {
		b = binary.AppendUvarint(b, v)
	}
	for _, of := range t.buckets {
		b = binary.AppendUvarint(binary.AppendUvarint(b, of.count), of.sums)
	}
	return seal(b)
}

func getTally(b []byte) (tally, error) {
	f, err := unseal(b, kindTally)
	if err != nil {
		return tally{}, err
	}
	t := tally{marks: marks{number: f.number(), index: f.number(), tables: f.number(), sessions: f.number()}}
	for i := range t.buckets {
		t.buckets[i] = total{count: f.number(), sums: f.number()}
	}
	return t, f.end()
}

// note takes the indexes over from a change.
func (m *marks) note(c *local.Change) {
	m.index = c.Index
	if c.Tables() {
		m.tables = c.Index
	}
	if c.OfSessions() {
		m.sessions = c.Index
	}
}
