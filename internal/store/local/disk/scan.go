package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"kvexpress/internal/store/local"
)

// A record of the log is a batch of changes: the label's CRC and its own, four bytes each, the
// payload's length and the record's number, eight bytes each, all with the lowest first, and the
// payload. Its CRC is of the label and of all that follows it. The label is random, so that no
// value can pass for a record. A record begins at a multiple of grid.
const (
	logHead = 24
	grid    = 8
)

// putBatch makes a record of the log.
func putBatch(label []byte, number uint64, changes []local.Change) []byte {
	b := binary.AppendUvarint(make([]byte, logHead, 512), uint64(len(changes)))
	for i := range changes {
		c := &changes[i]
		b = binary.AppendUvarint(b, c.Index)
		b = appendList(b, c.Deleted, appendString)
		b = appendList(b, c.Rows, func(b []byte, r *local.Row) []byte { return appendBytes(b, putRow(r)) })
		b = appendList(b, c.Graves, func(b []byte, g local.Grave) []byte { return appendBytes(b, putGrave(g)) })
		b = appendList(b, c.Reaped, appendString)
		b = appendList(b, c.Sessions, func(b []byte, s *local.Session) []byte { return appendBytes(b, putSession(s)) })
		b = appendList(b, c.Ended, appendString)
	}
	binary.LittleEndian.PutUint32(b, sum(label))
	binary.LittleEndian.PutUint64(b[8:], uint64(len(b)-logHead))
	binary.LittleEndian.PutUint64(b[16:], number)
	binary.LittleEndian.PutUint32(b[4:], batchSum(label, b))
	return b
}

func batchSum(label, record []byte) uint32 {
	return crc32.Update(sum(label), crc32.MakeTable(crc32.Castagnoli), record[8:])
}

// getBatch reads a record's payload. It keeps nothing of it.
func getBatch(payload []byte) ([]local.Change, error) {
	f := &fields{rest: payload}
	n := f.number()
	var changes []local.Change
	for ; n > 0 && !f.bad; n-- {
		changes = append(changes, local.Change{
			Index: f.number(), Deleted: list(f, (*fields).text), Rows: list(f, inner(getRow)), Graves: list(f, inner(getGrave)),
			Reaped: list(f, (*fields).text), Sessions: list(f, inner(getSession)), Ended: list(f, (*fields).text),
		})
	}
	return changes, f.end()
}

func appendList[T any](b []byte, all []T, one func([]byte, T) []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, v := range all {
		b = one(b, v)
	}
	return b
}

func list[T any](f *fields, one func(*fields) T) (all []T) {
	for n := f.number(); n > 0 && !f.bad; n-- {
		all = append(all, one(f))
	}
	return all
}

// inner reads a record within the payload.
func inner[T any](get func([]byte) (T, error)) func(*fields) T {
	return func(f *fields) T {
		v, err := get(f.bytes())
		f.bad = f.bad || err != nil
		return v
	}
}

// batchAt is the record at a place of the log; payload is nil if there is none.
func batchAt(log, label []byte, at int64) (number uint64, payload []byte) {
	if at+logHead > int64(len(log)) || binary.LittleEndian.Uint32(log[at:]) != sum(label) {
		return 0, nil
	}
	record := log[at:]
	size := binary.LittleEndian.Uint64(record[8:])
	if size > uint64(len(record)-logHead) {
		return 0, nil
	}
	record = record[:logHead+size]
	if binary.LittleEndian.Uint32(record[4:]) != batchSum(label, record) {
		return 0, nil
	}
	return binary.LittleEndian.Uint64(record[16:]), record[logHead:]
}

// scan reads a log, and takes into f what is in it and not yet in the store: the records
// above f.number. It returns where the next one goes.
//
// The records are in sequence from the start; what does not go on with it ends them. That
// may be one that was cut off while it was written, and so never acknowledged, and behind it what
// was left of earlier rounds of the log, with lower numbers. A higher one behind it was written
// later, so that all before it had been acknowledged: then one of them is damaged.
func scan(log, label []byte, f *fold) (end int64, err error) {
	applied, last := f.number, uint64(0)
	for end = logStart; ; {
		number, payload := batchAt(log, label, end)
		if payload == nil || end == logStart && number > applied+1 || end > logStart && number != last+1 {
			break
		}
		if number > applied {
			changes, err := getBatch(payload)
			if err != nil {
				return 0, wrong(fmt.Sprint("byte ", end), "%v", err)
			}
			f.add(number, changes)
		}
		last, end = number, end+room(len(payload)+logHead)
	}
	for at := end; at < int64(len(log)); at += grid {
		if number, payload := batchAt(log, label, at); payload != nil && number > f.number {
			return 0, wrong(fmt.Sprint("byte ", end), "there should be write %d, and write %d is behind it, at byte %d", f.number+1, number, at)
		}
	}
	if f.number == applied {
		return logStart, nil // all is in the store
	}
	return end, nil
}

// room is what a record of so many bytes takes.
func room(size int) int64 { return (int64(size) + grid - 1) / grid * grid }
