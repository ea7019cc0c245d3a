package install

import (
	"context"
	"errors"

	"kvexpress/internal/atomicfile"
)

// transaction is one run over one target, up to the exec. It takes the lock when there is
// something to do.
type transaction struct {
	*Installer
	reader
	path   string // where the file is, without links
	data   []byte // of the key, as stored, if the caller had it; of any age
	result Result

	place  *atomicfile.Place
	file   *atomicfile.Target // nil while its folder is missing
	held   bool               // the lock is ours
	disk   onDisk
	folder stateFolder
	state  *stateFile
}

func (tx *transaction) base() string { return tx.place.Base }

func (tx *transaction) close() error {
	err := errors.Join(tx.state.close(), tx.folder.close(), tx.file.Close(), tx.place.Dir.Close())
	tx.state, tx.file, tx.held = nil, nil, false
	return err
}

// errAgain: another process has the lock, or file or state changed before we had it.
var errAgain = errors.New("read again, under the lock")

// errLongest is why a wait ends: see Longest.
var errLongest = errors.New("no run waits longer")

func (tx *transaction) run(ctx context.Context) error {
	begun := tx.result
	err := tx.attempt(ctx)
	if !errors.Is(err, errAgain) {
		return err
	}
	tx.result, tx.disk.content = begun, nil
	if !tx.held {
		tx.share.keep(0) // it may take minutes
		if err := tx.wait(ctx); err != nil {
			return err
		}
		if err := tx.share.need(ctx, 0); err != nil {
			return err
		}
	}
	return tx.attempt(ctx)
}

func (tx *transaction) attempt(ctx context.Context) error {
	if err := tx.Fault.before(AtRead); err != nil {
		return err
	}
	claim, err := meanwhile(ctx, tx.small, tx.look)
	tx.result.Index = claim.index
	if tx.state == nil { // the disk could not be read
		return err
	}
	if !tx.target.DryRun && tx.state.unfinished() {
		if failed := tx.recover(ctx, err); failed != nil {
			return errors.Join(err, failed)
		}
	}
	if err != nil {
		return err
	}
	if claim.sha == tx.disk.sha && tx.disk.unread {
		if tx.disk, err = look(tx.file, false); err != nil {
			return err
		}
	}
	if claim.sha != "" && claim.sha == tx.disk.sha {
		_, same := tx.seen(ctx, claim)
		tx.result.Mismatch = tx.data != nil && !same
		return tx.keep(ctx, claim)
	}
	ctx, done := tx.interruptible(ctx)
	defer done()
	return tx.replace(ctx, claim)
}

// look reads the file, if need be, and its state.
func (tx *transaction) look() (err error) {
	err = errors.Join(tx.state.close(), tx.open())
	tx.state = nil
	if err != nil {
		return err
	}
	if tx.disk, err = tx.glance(); err != nil {
		return err
	}
	tx.result.Before, tx.result.DiskRead = tx.disk.sha, true
	tx.state, err = loadState(&tx.folder, tx.path)
	return err
}

// open opens the target, if its folder is there.
func (tx *transaction) open() (err error) {
	if tx.file == nil && len(tx.place.Missing) == 0 {
		tx.file, err = tx.place.Dir.Open(tx.place.Base)
	}
	return err
}

// hold takes the lock, unless it is ours already. The error is errAgain if it is not free,
// or if file or state may be others by now.
func (tx *transaction) hold(ctx context.Context) error {
	if tx.held {
		return nil
	}
	now, cancel := context.WithCancel(ctx)
	cancel()
	if err := tx.lock(now); errors.Is(err, atomicfile.ErrBusy) {
		return errAgain
	} else if err != nil {
		return err
	}
	changed, err := tx.file.Reopen(tx.disk.identity)
	if err != nil {
		return err
	}
	if tx.state.dir != nil {
		_ = tx.state.dir.Sweep(tx.state.name) // if it fails, the next save tells
	}
	other, err := tx.state.changed()
	if err == nil && (changed || other) {
		err = errAgain
	}
	return err
}

// wait waits for the lock, and opens the file that is there then.
func (tx *transaction) wait(ctx context.Context) error {
	if err := tx.lock(ctx); err != nil {
		return err
	}
	_, err := tx.file.Reopen(atomicfile.Identity{})
	return err
}

// lock takes the lock. It waits for another process until the context ends.
func (tx *transaction) lock(ctx context.Context) error {
	if err := tx.Fault.before(AtLock); err != nil {
		return err
	}
	if err := tx.place.MakeDirs(); err != nil {
		return err
	}
	if err := tx.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Longest(tx.target), errLongest)
	defer cancel()
	err := tx.file.Lock(ctx, atomicfile.Waiting{Elsewhere: tx.elsewhere, Show: tx.target.Waiting})
	tx.held = err == nil
	return err
}

// elsewhere is where the lock is if the folder of the target cannot be written.
func (tx *transaction) elsewhere() (*atomicfile.Dir, string, error) {
	dir, err := atomicfile.OpenPrivate(tx.StateDir, true)
	if err != nil {
		err = &StateError{Dir: tx.StateDir, Err: err}
	}
	return dir, nameOf(tx.path), err
}
