package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/store/local"
)

// The buckets of the file.
const (
	aboutBucket    = "about" // the first in order, so that the format is known before all else
	rowsBucket     = "rows"
	gravesBucket   = "graves"
	sessionsBucket = "sessions"

	formatKey = "format"
	tallyKey  = "tally"
	logKey    = "log"
)

// dataBuckets are those with records, in the order of tally.buckets.
func dataBuckets() [3]string { return [3]string{rowsBucket, gravesBucket, sessionsBucket} }

// format is the version of what is in the buckets.
const format = 2

// content is what a file holds.
type content struct {
	saved     local.Saved
	hasFormat bool
	tally     []byte // as it was stored; nil if it was not there
	label     []byte // of the log; the same
	found     tally  // what the records come to
}

// readFile reads and verifies the whole of a file, and gives the label of its log too.
func readFile(path string) (local.Saved, tally, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return local.Saved{}, tally{}, nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var c content
	var t tally
	p := pages{f: f, tell: c.take}
	if err = p.read(); err == nil {
		t, err = c.check()
	}
	if bad := (*problem)(nil); errors.As(err, &bad) {
		return local.Saved{}, tally{}, nil, damaged(path, bad.place, bad.what)
	} else if err != nil {
		return local.Saved{}, tally{}, nil, fmt.Errorf("%s: %w", path, atomicfile.Explain(err))
	}
	c.saved.Index, c.saved.Tables, c.saved.SessionIndex = t.index, t.tables, t.sessions
	return c.saved, t, c.label, nil
}

// take verifies and keeps one record.
func (c *content) take(bucket string, key, value []byte) error {
	var err error
	var name string
	switch bucket {
	case aboutBucket:
		switch string(key) {
		case formatKey:
			c.hasFormat = true
			return checkFormat(value)
		case tallyKey:
			c.tally = bytes.Clone(value)
		case logKey:
			c.label = bytes.Clone(value)
		}
		return nil
	case rowsBucket:
		var r *local.Row
		if r, err = getRow(value); err == nil {
			name = r.Path
			c.saved.Rows = append(c.saved.Rows, r)
		}
		c.found.buckets[0].add(value)
	case gravesBucket:
		var g local.Grave
		if g, err = getGrave(value); err == nil {
			name = g.Path
			c.saved.Graves = append(c.saved.Graves, g)
		}
		c.found.buckets[1].add(value)
	case sessionsBucket:
		var s *local.Session
		if s, err = getSession(value); err == nil {
			name = s.ID
			c.saved.Sessions = append(c.saved.Sessions, s)
		}
		c.found.buckets[2].add(value)
	default:
		return wrong(fmt.Sprintf("bucket %q", bucket), "there is no such bucket")
	}
	if err == nil && !bytes.Equal(key, keyOf(name)) {
		err = fmt.Errorf("%w: it is that of %q", errRecord, name)
	}
	if err != nil {
		return wrong(fmt.Sprintf("bucket %s, key %q", bucket, key), "%v", err)
	}
	return nil
}

// checkFormat says whether the records are of a format that is known.
func checkFormat(record []byte) error {
	f, err := unseal(record, kindFormat)
	if err != nil {
		return wrong("bucket about, key format", "%v", err)
	}
	v := f.number()
	if err := f.end(); err != nil || v == 0 {
		return wrong("bucket about, key format", "it is no version")
	}
	if v < format {
		return wrong("bucket about, key format", "no version of kvexpress that was released has written format %d", v)
	}
	if v > format {
		return fmt.Errorf("%w: %d, and this program knows up to %d; use the version of kvexpress that wrote it, or a later one", ErrNewer, v, format)
	}
	return nil
}

func putFormat(v uint64) []byte { return seal(binary.AppendUvarint(begin(kindFormat, 1), v)) }

// check holds what was found against what was stored.
func (c *content) check() (tally, error) {
	if !c.hasFormat {
		return tally{}, wrong("bucket about, key format", "it is missing")
	}
	t, err := getTally(c.tally)
	if err != nil {
		return t, wrong("bucket about, key tally", "%v", err)
	}
	for i, name := range dataBuckets() {
		if want, got := t.buckets[i], c.found.buckets[i]; want != got {
			return t, wrong("bucket "+name, "it has %d records with a sum of %d, and should have %d with %d", got.count, got.sums, want.count, want.sums)
		}
	}
	if _, err := getLabel(c.label); err != nil {
		return t, wrong("bucket about, key log", "%v", err)
	}
	return t, nil
}
