package disk

import (
	"encoding/binary"
	"errors"

	"kvexpress/internal/store/local"
)

// Decode reads a record of any kind and returns it as it is written anew.
func Decode(b []byte) (again []byte, err error) {
	if r, err := getRow(b); err == nil {
		return putRow(r), nil
	}
	if g, err := getGrave(b); err == nil {
		return putGrave(g), nil
	}
	if s, err := getSession(b); err == nil {
		return putSession(s), nil
	}
	if t, err := getTally(b); err == nil {
		return t.put(), nil
	}
	return nil, errors.New("no record")
}

// Sealed is a record with any payload.
func Sealed(payload []byte) []byte { return seal(append(make([]byte, header), payload...)) }

// Records are one of each kind.
func Records(r *local.Row, g local.Grave, s *local.Session) [][]byte {
	t := tally{marks: marks{number: 6, index: 5, tables: 4, sessions: 3}, buckets: [3]total{{1, 2}, {3, 4}, {5, 6}}}
	return [][]byte{putRow(r), putGrave(g), putSession(s), t.put()}
}

// PutFormat is the record of a format's version.
func PutFormat(v uint64) []byte { return putFormat(v) }

// OpenSized is Open with the size of a log that is made. Direct is one without room.
func OpenSized(dir string, size int64) (*Journal, error) { return open(dir, size) }

// Sizes of logs, and the place of the first record.
const (
	Direct  = logStart
	LogSize = logSize
	Start   = logStart
)

// PutBatch is a record of the log, and PutLabel what it begins with.
func PutBatch(label []byte, number uint64, changes []local.Change) []byte {
	b := putBatch(label, number, changes)
	return append(b, make([]byte, int(room(len(b)))-len(b))...)
}

func PutLabel(size int64) []byte { return putLabel(size) }

// Label is that of a log's content.
func Label(log []byte) []byte { return log[:header+binary.LittleEndian.Uint32(log)] }

// Scan is what is in a log besides a store that holds applied batches: the number of the last,
// and where the next record goes.
func Scan(log, label []byte, applied uint64) (s local.Saved, last uint64, end int64, err error) {
	f := newFold(marks{number: applied})
	end, err = scan(log, label, &f)
	f.over(&s)
	return s, f.number, end, err
}

// Resealed is a record of the log with another payload, and a CRC that is right.
func Resealed(label, record []byte, change func(payload []byte)) []byte {
	record = record[:logHead+binary.LittleEndian.Uint64(record[8:])]
	change(record[logHead:])
	binary.LittleEndian.PutUint32(record[4:], batchSum(label, record))
	return record
}

// GetBatch reads the payload of a record of the log.
func GetBatch(payload []byte) ([]local.Change, error) { return getBatch(payload) }

// ErrPanicked is what a panic of bbolt becomes.
var ErrPanicked = errPanicked
