package disk

import (
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
	t := tally{index: 5, tables: 4, sessions: 3, buckets: [3]total{{1, 2}, {3, 4}, {5, 6}}}
	return [][]byte{putRow(r), putGrave(g), putSession(s), t.put()}
}

// PutFormat is the record of a format's version.
func PutFormat(v uint64) []byte { return putFormat(v) }

// ErrPanicked is what a panic of bbolt becomes.
var ErrPanicked = errPanicked
