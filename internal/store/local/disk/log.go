package disk

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"kvexpress/internal/atomicfile"
)

const (
	logName  = "log"
	logSize  = 1 << 20 // of the file: what is in it goes into bbolt at once, and all wait
	logStart = 512     // of the first record; the label is before it
	saltSize = 16
)

// wal is the log in front of bbolt. Its blocks were written when it was made, so that a
// sync has to wait for the data alone, and not for the file system's own journal.
type wal struct {
	f     *os.File
	path  string
	label []byte // the file's beginning, which store.db knows
	size  int64
	end   int64 // where the next record goes
}

// putLabel makes the label of a new log of a size. No other has it.
func putLabel(size int64) []byte {
	b := begin(kindLabel, saltSize)
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	return seal(binary.AppendUvarint(append(b, salt...), uint64(size)))
}

// getLabel reads the size of a log.
func getLabel(b []byte) (size int64, err error) {
	f, err := unseal(b, kindLabel)
	if err != nil {
		return 0, err
	}
	f.take(saltSize)
	n := f.number()
	if n < logStart || n > 1<<40 {
		return 0, errRecord
	}
	return int64(n), f.end()
}

// fillLog makes the file of an empty log, each byte written: an extent that is only
// reserved would cost a commit of the file system's journal at the first write into it.
func fillLog(path string, label []byte, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	content := make([]byte, size)
	copy(content, label)
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// unused checks that a log without a store.db was not written to: that it was left by one
// who was cut off while making a store.
func unused(path string) error {
	there, err := present(path)
	if err != nil || !there {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, atomicfile.Explain(err))
	}
	for _, b := range content[min(logStart, len(content)):] {
		if b != 0 {
			return damaged(path, "", "writes are in it, and "+fileName+" is missing")
		}
	}
	return nil
}

// openLog opens the log with a label, and takes in what is in it and not in the store.
func openLog(path string, label []byte, into *fold) (*wal, error) {
	size, err := getLabel(label)
	if err != nil {
		return nil, damaged(path, "", err.Error())
	}
	there, err := present(path)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, damaged(path, "", "it is missing, and the last writes with it")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, atomicfile.Explain(err))
	}
	w := &wal{f: f, path: path, label: label, size: size}
	if err = w.read(into); err == nil {
		return w, nil
	}
	if bad := (*problem)(nil); errors.As(err, &bad) {
		err = damaged(path, bad.place, bad.what)
	} else {
		err = fmt.Errorf("read %s: %w", path, atomicfile.Explain(err))
	}
	return nil, errors.Join(err, f.Close())
}

func (w *wal) read(into *fold) error {
	info, err := w.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != w.size {
		return wrong("end", "it has %d bytes, and should have %d", info.Size(), w.size)
	}
	content := make([]byte, w.size)
	if _, err := w.f.ReadAt(content, 0); err != nil {
		return err
	}
	if !bytes.HasPrefix(content, w.label) {
		return wrong("byte 0", "it is not the log of this %s", fileName)
	}
	w.end, err = scan(content, w.label, into)
	return err
}

// again writes once more what was read and is not in the store yet. It may be there only
// as the operating system remembers it: who wrote it may have ended before the sync, or
// the sync failed. It is told to readers from now on.
func (w *wal) again() error {
	if w.end == logStart {
		return nil
	}
	content := make([]byte, w.end-logStart)
	if _, err := w.f.ReadAt(content, logStart); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(content, logStart); err != nil {
		return err
	}
	return syncData(w.f)
}

func (w *wal) fits(record []byte) bool { return w.end+room(len(record)) <= w.size }

// append writes a record that fits, and syncs. With a clean error nothing of it counts.
func (w *wal) append(record []byte) (clean bool, err error) {
	if _, err := w.f.WriteAt(record, w.end); err != nil {
		// There may be no room though the blocks are there: on a file system that copies on write.
		if !noRoomToWrite(err) {
			return false, err
		}
		if undo := w.undo(record); undo != nil {
			return false, errors.Join(err, undo)
		}
		return true, err
	}
	if err := syncData(w.f); err != nil {
		return false, err
	}
	w.end += room(len(record))
	return true, nil
}

// undo takes the head of a record away that got in in part. The rest may be there from an
// earlier time, a few zeros, and so the whole.
func (w *wal) undo(record []byte) error {
	head := make([]byte, logHead)
	if _, err := w.f.ReadAt(head, w.end); err != nil {
		return err
	}
	if !bytes.Equal(head, record[:logHead]) { // os.File tells of no bytes where some were written
		return nil
	}
	if _, err := w.f.WriteAt(make([]byte, logHead), w.end); err != nil {
		return err
	}
	return syncData(w.f)
}
