// Package disk implements embedded.Journal: it keeps the embedded store in a folder, in a bbolt file. Of this module it imports
// embedded, and atomicfile for the remedies of the operating system's errors.
//
// An acknowledged write survives kill -9 and power loss, and a batch is applied whole or not at all. Only one process can open
// the folder. Open reads and verifies every record. If the file is damaged, Open fails, names the file, the bucket and the key,
// and leaves the file as it is.
//
// One kind of damage is not detected: if the newer of bbolt's two meta pages is damaged, bbolt uses the older one, and the last
// acknowledged batch is lost.
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
	chunk    = 4 << 20 // bytes; a compaction copies so much in one transaction, in memory
)

// The errors of Open, besides the operating system's.
var (
	// ErrInUse: another process, or another Journal of this process, has the folder open.
	ErrInUse = errors.New("the folder is in use")
	// ErrDamaged: the file does not hold the data that was written. Open leaves it as it is.
	ErrDamaged = errors.New("the file is damaged")
	// ErrFolder: the folder, or a file in it, is not suitable for a store.
	ErrFolder = errors.New("the folder cannot hold a store")
)

func damaged(path string, why error) error {
	return fmt.Errorf("%[1]s: %[2]w: %[3]w; it was left unchanged; mv '%[1]s' '%[1]s.damaged', start again with an empty store, "+
		"and import an export (kvexpress kv import backup.json) or publish again", path, ErrDamaged, atomicfile.Explain(why))
}

var _ embedded.Journal = (*Journal)(nil)

// Journal is the locked folder of a store. It is safe for concurrent use.
type Journal struct {
	path string // of the file

	mu     sync.Mutex
	folder *os.File
	db     *database // nil once closed
	read   *content  // nil after Load
	about  about     // the summary record on disk
	broken error     // why further writes are refused
}

// Open locks the folder, creates it and its file if they are missing, and reads and verifies the content, which Load returns. It
// fails with ErrInUse, ErrDamaged, ErrFolder or an error of the operating system.
func Open(dir string) (*Journal, error) {
	folder, err := lockFolder(dir)
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
		j.read, err = &content{about: about{format: Format}}, j.remake(create)
	case err != nil:
		err = fmt.Errorf("open %s: %w", j.path, atomicfile.Explain(err))
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s: %w: it is not a regular file; move it away", j.path, ErrFolder)
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

// reopen reads and verifies the file, and replaces it with a compacted copy. The copy repairs damage in bbolt's free list, which
// no record shows. It also makes everything durable that an earlier process wrote but did not sync.
func (j *Journal) reopen(size int64) error {
	if size == 0 { // bbolt would create an empty store in it
		return damaged(j.path, errors.New("it is empty"))
	}
	old, err := openBolt(j.path, bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	if j.read, err = read(old); err == nil {
		err = j.remake(func(db *bolt.DB) error { return bolt.Compact(db, old.DB, chunk) })
	}
	if full(err) { // keep the old file: a store must open on a full disk
		err = old.file.Sync()
	}
	return errors.Join(err, old.close(err))
}

// remake creates the file under another name, and renames it when it is complete and durable.
func (j *Journal) remake(fill func(*bolt.DB) error) error {
	made := j.path + ".new"
	err := os.RemoveAll(made) // left by an interrupted remake
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

// create makes the buckets of an empty store.
func create(db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		var errs []error
		for _, name := range []string{aboutBucket, rowsBucket} {
			_, err := tx.CreateBucket([]byte(name))
			errs = append(errs, err)
		}
		empty := about{format: Format}
		return errors.Join(append(errs, tx.Bucket([]byte(aboutBucket)).Put(keyOf(""), empty.put()))...)
	})
}

// Load returns the content that Open read. It can be called once.
func (j *Journal) Load(into *embedded.Saved) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.read == nil || j.db == nil {
		return errors.New("the journal was loaded or closed before")
	}
	*into, j.read = j.read.saved, nil
	return nil
}

// Append makes all changes durable, or none, in one transaction. On a full disk, a quota or a file size limit it fails with
// embedded.ErrNotWritten. After any other error it refuses further writes.
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
	clean := noRoom(err) && j.db.lastTxn() == before
	err = fmt.Errorf("write %s: %w", j.path, atomicfile.Explain(err))
	if clean {
		return fmt.Errorf("%w: %w", embedded.ErrNotWritten, err)
	}
	j.broken = err
	return err
}

// Close unlocks the folder. A second Close does nothing.
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
