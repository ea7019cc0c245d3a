package install

import (
	"context"
	"errors"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/rollout"
)

// transaction is one run over one target. It takes the lock if there is something to do.
type transaction struct {
	*Installer
	target Target
	locks  []string // paths of the target's locks, one for each of its names
	share  *Share
	path   string // of the file, without links
	data   []byte // of the key, as stored, if the caller has it; of any age
	result Result
	gated  time.Time // when stop and lock were read for the last time

	offer     *rollout.Offer // the rows that were read last are of its candidate; nil: they are current
	undecided bool           // a candidate is in place, its rollout is open, and these rows do not tell whether it stays

	file   *atomicfile.Target
	locked bool
	disk   onDisk
	folder stateFolder
	state  *stateFile
}

func (tx *transaction) close() (err error) {
	if tx.locked {
		err = tx.Fault.Before(AtUnlock)
	}
	err = errors.Join(err, tx.state.close(), tx.folder.close(), tx.file.Close(), tx.file.Dir.Close())
	tx.state, tx.locked = nil, false
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
	if !tx.locked {
		tx.share.keep(0) // the wait may take minutes
		if err := tx.lock(ctx); err != nil {
			return err
		}
		if err := tx.share.need(ctx, 0); err != nil {
			return err
		}
	}
	return tx.attempt(ctx)
}

func (tx *transaction) attempt(ctx context.Context) error {
	if err := tx.Fault.Before(AtRead); err != nil {
		return err
	}
	if err := tx.readDisk(); err != nil {
		return err
	}
	promised, err := tx.promise(ctx)
	tx.result.Index = promised.Index
	if !tx.target.DryRun && (tx.state.damaged || tx.state.Overwrite != nil) {
		if failed := tx.recover(ctx, err); failed != nil {
			return failed // without the error of the gates: a stop is no failure, but a torn file is
		}
	}
	if err != nil {
		return err
	}
	if tx.leaves() {
		return tx.leave()
	}
	if promised.SHA256 != "" && promised.SHA256 == tx.disk.sha {
		_, same := tx.fromData(ctx, promised)
		tx.result.Mismatch = tx.data != nil && !same
		return tx.keep(ctx, promised)
	}
	ctx, done := tx.interruptible(ctx)
	defer done()
	return tx.replace(ctx, promised)
}

// readDisk reads the file and its state.
func (tx *transaction) readDisk() (err error) {
	err = errors.Join(tx.state.close(), tx.file.Open())
	tx.state = nil
	if err != nil {
		return err
	}
	if tx.disk, err = readFile(tx.file, false); err != nil {
		return err
	}
	tx.result.Before, tx.result.DiskRead = tx.disk.sha, true
	if tx.state, err = loadState(&tx.folder, tx.path); err != nil {
		return err
	}
	tx.result.Provisional = tx.state.of(tx.disk.sha).Rollout
	if was := tx.state.Installed; was.Key == tx.target.name() && was.SHA256 == tx.disk.sha {
		tx.result.Had = was.Version
	}
	return nil
}

// lockNow takes the lock, if it is not ours yet. The error is errAgain if another process has it, or may have changed file or
// state before.
func (tx *transaction) lockNow(ctx context.Context) error {
	if tx.locked {
		return nil
	}
	now, cancel := context.WithCancel(ctx)
	cancel()
	if err := tx.lock(now); errors.Is(err, atomicfile.ErrBusy) {
		return errAgain
	} else if err != nil {
		return err
	}
	changed, err := tx.state.changed()
	if err == nil && (changed || !tx.file.Unchanged()) {
		err = errAgain
	}
	return err
}

// lock takes the lock. It waits for another process until the context ends.
func (tx *transaction) lock(ctx context.Context) error {
	if err := tx.Fault.Before(AtLock); err != nil {
		return err
	}
	if err := tx.file.MakeDirs(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Longest(tx.target), errLongest)
	defer cancel()
	err := tx.file.Lock(ctx, atomicfile.Waiting{Elsewhere: tx.elsewhere, Show: tx.target.Waiting})
	tx.locked = err == nil
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
