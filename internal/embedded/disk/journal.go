// Package disk keeps the embedded store in a folder: it is the embedded.Journal that makes
// writes durable, with bbolt.
//
// An acknowledged write survives kill -9 and power loss, and a batch is there whole or not
// at all. One process has the folder; others are refused. Open reads and verifies every
// record. A damaged file is an error that names the file, the bucket and the key; the file is
// left as it is.
//
// One damage is not noticed: if the newer of bbolt's two heads is damaged, bbolt takes the
// older one, and the last acknowledged batch is lost.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/embedded"
)

const (
	fileName = "store.db"
	chunk    = 4 << 20 // bytes that are copied in one transaction, which has them in memory
)

// The errors of Open, besides those of the operating system.
var (
	// ErrInUse: another process, or another Journal of this one, has the folder.
	ErrInUse = errors.New("the folder is in use")
	// ErrDamaged: what is on disk is not what was written. It is left as it is.
	ErrDamaged = errors.New("the file is damaged")
	// ErrFolder: the folder, or a file in it, is not one to keep a store in.
	ErrFolder = errors.New("the folder cannot hold a store")
)

func damaged(path string, why error) error {
	return fmt.Errorf("%[1]s: %[2]w: %[3]w; it was left as it is: mv '%[1]s' '%[1]s.damaged', start again with an empty store, "+
		"and restore an export (kvexpress kv import backup.json) or publish anew", path, ErrDamaged, atomicfile.Explain(why))
}

var _ embedded.Journal = (*Journal)(nil)

// Journal is a store's folder, which nobody else has meanwhile. Its methods may be called
// from any goroutine.
type Journal struct {
	path string // of the file

	mu     sync.Mutex
	folder *os.File
	db     *database // nil once closed
	read   *content  // until it was loaded
	about  about     // of what is on disk
	broken error     // why nothing more is written
}

// Open takes the folder for this process, makes it and its file where they are missing,
// and reads and verifies what they hold. Load hands that over.
//
// The errors are ErrInUse, ErrDamaged, ErrFolder, or the operating system's.
func Open(dir string) (*Journal, error) {
	folder, err := hold(dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{path: filepath.Join(dir, fileName), folder: folder}
	if err := j.open(); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func (j *Journal) open() error {
	info, err := os.Lstat(j.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.read, err = &content{about: about{format: format}}, j.remake(create)
	case err != nil:
		err = fmt.Errorf("open %s: %w", j.path, atomicfile.Explain(err))
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s: %w: it is no regular file; move it away", j.path, ErrFolder)
	default:
		if err = ours(j.path, info); err == nil {
			err = j.reopen(info.Size())
		}
	}
	if err != nil {
		return err
	}
	j.about = j.read.about
	j.db, err = openBolt(j.path, bolt.Options{})
	return err
}

// reopen reads the file, and puts one in its place that bbolt makes anew of the verified records. So damage
// to bbolt's own lists, which no record shows, does no harm later, and all that readers are told is durable, also
// where an earlier process ended before its sync, or the sync failed.
func (j *Journal) reopen(size int64) error {
	if size == 0 { // bbolt would make an empty store of it
		return damaged(j.path, errors.New("it is empty"))
	}
	old, err := openBolt(j.path, bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	if j.read, err = read(old); err == nil {
		err = j.remake(func(db *bolt.DB) error { return bolt.Compact(db, old.DB, chunk) })
	}
	if full(err) { // the old file goes on: a full disk keeps no store from being opened
		err = old.file.Sync()
	}
	return errors.Join(err, old.close(err))
}

// remake makes the file, which gets its name when it is whole and durable.
func (j *Journal) remake(fill func(*bolt.DB) error) error {
	made := j.path + ".new"
	err := os.RemoveAll(made) // of one that was cut off
	var db *database
	if err == nil {
		db, err = openBolt(made, bolt.Options{NoSync: true, NoGrowSync: true})
	}
	if err == nil {
		err = safely(func() error { return errors.Join(fill(db.DB), db.Sync()) })
		err = errors.Join(err, db.close(err))
	}
	if err == nil {
		err = os.Rename(made, j.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(j.path))
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", j.path, atomicfile.Explain(errors.Join(err, os.RemoveAll(made))))
	}
	return nil
}

// create fills an empty store.
func create(db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		var errs []error
		for _, name := range []string{aboutBucket, rowsBucket, gravesBucket} {
			_, err := tx.CreateBucket([]byte(name))
			errs = append(errs, err)
		}
		empty := about{format: format}
		return errors.Join(append(errs, tx.Bucket([]byte(aboutBucket)).Put(keyOf(""), empty.put()))...)
	})
}

// Load hands over what was read. It can be called once.
func (j *Journal) Load(into *embedded.Saved) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.read == nil || j.db == nil {
		return errors.New("the journal was loaded or closed before")
	}
	*into, j.read = j.read.saved, nil
	return nil
}

// Append makes changes durable, all or none, by one transaction. A full disk, a quota and a
// limit on file sizes give embedded.ErrNotWritten; after any other error nothing more is written.
func (j *Journal) Append(changes []embedded.Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.broken != nil:
		return j.broken
	case j.db == nil || j.read != nil:
		return fmt.Errorf("%w: the journal is not open", embedded.ErrNotWritten)
	case len(changes) == 0:
		return nil
	}
	before, next := 0, j.about
	err := safely(func() error {
		return j.db.Update(func(tx *bolt.Tx) error {
			before = tx.ID() - 1
			return next.apply(tx, changes)
		})
	})
	if err == nil {
		j.about = next
		return nil
	}
	clean := noRoom(err) && j.db.head() == before
	err = fmt.Errorf("write %s: %w", j.path, atomicfile.Explain(err))
	if clean {
		return fmt.Errorf("%w: %w", embedded.ErrNotWritten, err)
	}
	j.broken = err
	return err
}

// Close lets the folder go. A second Close does nothing.
func (j *Journal) Close() (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.db != nil {
		err = j.db.close(j.broken)
	}
	if j.folder != nil {
		err = errors.Join(err, j.folder.Close())
	}
	if j.db, j.folder = nil, nil; err != nil {
		return fmt.Errorf("close %s: %w", j.path, atomicfile.Explain(err))
	}
	return nil
}
