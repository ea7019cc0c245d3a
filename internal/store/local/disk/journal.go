package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/store/local"
)

const fileName = "store.db"

var _ local.Journal = (*Journal)(nil)

// Journal is a store's folder, which nobody else has meanwhile. Its methods may be called
// from any goroutine.
type Journal struct {
	dir, path string

	mu      sync.Mutex
	lock    *os.File
	db      *bolt.DB
	file    *os.File // that of db
	log     *wal
	saved   local.Saved // until it was loaded
	loaded  bool
	tally   tally // what is in db
	pending fold  // what is in the log besides
	broken  error // why nothing more is written
}

// Open takes the folder for this process, makes it and its files where they are missing,
// and reads and verifies what they hold. Load hands that over.
//
// The errors are ErrInUse, ErrDamaged, ErrNewer, ErrFolder, or the operating system's.
func Open(dir string) (*Journal, error) { return open(dir, logSize) }

// open is Open with the size of a log that is made.
func open(dir string, size int64) (*Journal, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the folder %s: %w", dir, err)
	}
	if err := prepare(dir); err != nil {
		return nil, err
	}
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{dir: dir, path: filepath.Join(dir, fileName), lock: held}
	if err := j.open(size); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func (j *Journal) open(size int64) error {
	there, err := present(j.path)
	if err == nil && !there {
		err = j.create(size)
	}
	if err != nil {
		return err
	}
	// bbolt makes an empty file into an empty store, and trusts any other: it
	// sees none that was not read before.
	var label []byte
	if j.saved, j.tally, label, err = readFile(j.path); err != nil {
		return err
	}
	j.pending = newFold(j.tally.marks)
	if j.log, err = openLog(filepath.Join(j.dir, logName), label, &j.pending); err != nil {
		return err
	}
	j.pending.over(&j.saved)
	j.db, j.file, err = openBolt(j.path)
	if err != nil {
		return fmt.Errorf("open %s: %w", j.path, atomicfile.Explain(err))
	}
	if err := j.log.again(); err != nil {
		return j.failed(j.log.path, false, err)
	}
	return nil
}

// create makes an empty store, its log first.
func (j *Journal) create(size int64) error {
	log := filepath.Join(j.dir, logName)
	if err := unused(log); err != nil {
		return err
	}
	label := putLabel(size)
	if err := whole(log, func(path string) error { return fillLog(path, label, size) }); err != nil {
		return err
	}
	if err := whole(j.path, func(path string) error { return fill(path, label) }); err != nil {
		return err
	}
	return syncFolder(j.dir)
}

// whole makes a file, which gets its name when it is whole and durable.
func whole(path string, fill func(path string) error) error {
	made := path + ".new"
	err := os.RemoveAll(made) // what was cut off
	if err == nil {
		err = fill(made)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = os.RemoveAll(made)
		return fmt.Errorf("make %s: %w", path, atomicfile.Explain(err))
	}
	return nil
}

// fill makes the file of an empty store, with the label of its log.
func fill(path string, label []byte) error {
	db, _, err := openBolt(path)
	if err != nil {
		return err
	}
	err = safely(func() error {
		return db.Update(func(tx *bolt.Tx) error {
			for _, name := range dataBuckets() {
				if _, err := tx.CreateBucket([]byte(name)); err != nil {
					return err
				}
			}
			about, err := tx.CreateBucket([]byte(aboutBucket))
			if err != nil {
				return err
			}
			empty := tally{}
			return errors.Join(about.Put([]byte(formatKey), putFormat(format)), about.Put([]byte(tallyKey), empty.put()), about.Put([]byte(logKey), label))
		})
	})
	return errors.Join(err, db.Close())
}

// openBolt opens or makes a file of bbolt, and returns the one that it works on too.
func openBolt(path string) (db *bolt.DB, file *os.File, err error) {
	err = safely(func() error {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      lockWait, // somebody has it open past our lock
			FreelistType: bolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		return err
	})
	if err != nil && file != nil {
		_ = file.Close() // bbolt has, unless it panicked
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = fmt.Errorf("%w by another process, which has opened the file with other means; end that one first", ErrInUse)
	}
	return db, file, err
}

// Load hands over what was read. It can be called once.
func (j *Journal) Load(into *local.Saved) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.loaded || j.db == nil {
		return errors.New("the journal was loaded or closed before")
	}
	*into, j.saved, j.loaded = j.saved, local.Saved{}, true
	return nil
}

// Close brings what is in the log into bbolt, if there is room, and lets the folder go. All
// that was acknowledged is on disk before and after. A second Close does nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	if j.db != nil && j.broken == nil {
		if err := j.checkpoint(); !errors.Is(err, local.ErrNotWritten) { // else the log keeps it
			errs = append(errs, err)
		}
	}
	switch {
	case j.db == nil:
	case j.panicked():
		// bbolt may hold its own lock for good: end what others wait for.
		errs = append(errs, j.file.Close())
	default:
		errs = append(errs, j.db.Close())
	}
	if j.log != nil {
		errs = append(errs, j.log.f.Close())
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
	}
	j.db, j.file, j.log, j.lock = nil, nil, nil, nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", j.dir, atomicfile.Explain(err))
	}
	return nil
}
