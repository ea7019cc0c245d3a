package install

import (
	"context"
	"errors"
	"fmt"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/gate"
	"kvexpress/internal/record"
)

// stagedName is the folder of the state folder that holds the copy of the new bytes of an in-place target, and nothing else.
func (tx *transaction) stagedName() string { return ".staged-" + nameOf(tx.path) }

// errTorn: an overwrite failed, and so did putting the old bytes back.
var errTorn = errors.New("it may be torn until the next install completes it")

// overwrite stages a copy of the content in the state folder, checks it, and overwrites the file with it. If that fails, it puts
// the old bytes back. If that fails too, the error wraps errTorn, and the copy stays: the next install completes the overwrite.
func (tx *transaction) overwrite(ctx context.Context, content []byte, attrs atomicfile.Attrs) (changed bool, err error) {
	if linked, err := tx.file.Linked(); err != nil || linked {
		return false, errors.Join(err, fmt.Errorf("overwrite %s: %w", tx.path, atomicfile.ErrLinks))
	}
	copies, err := tx.staging()
	if err != nil {
		return false, err
	}
	defer func() {
		err = errors.Join(err, copies.Close())
		if !errors.Is(err, errTorn) {
			err = errors.Join(err, tx.removeStaged())
		}
	}()
	if err := copies.Remove(tx.file.Base); err != nil { // of a run whose state is lost
		return false, err
	}
	like := attrs
	like.Like = nil // the copy may be on another file system
	staged, err := copies.Stage(tx.file.Base, content, like)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, staged.Discard()) }()
	if err := tx.check(ctx, staged, content); err != nil {
		return false, err
	}
	if err := copies.Sync(); err != nil {
		return false, err
	}
	err = tx.file.WriteInPlace(content, attrs)
	if err == nil {
		return true, nil
	}
	if tx.asBefore() {
		return false, err
	}
	if tx.disk.content != nil {
		back := tx.file.WriteInPlace(tx.disk.content, tx.disk.Attrs)
		if tx.asBefore() {
			return false, err
		}
		err = errors.Join(err, back)
	}
	return true, errors.Join(fmt.Errorf("%s: %w: %w", tx.path, errTorn, err), staged.Leave())
}

// asBefore reports whether the file still has its old bytes.
func (tx *transaction) asBefore() bool {
	now, err := readFile(tx.file, false)
	return err == nil && tx.disk.sha != "" && now.sha == tx.disk.sha
}

// recover completes an overwrite that a killed run began, or takes it back. frozen is the error of the gates.
func (tx *transaction) recover(ctx context.Context, frozen error) error {
	if err := tx.lockNow(ctx); err != nil {
		return err
	}
	if tx.state.damaged {
		tx.result.note("the state of %s is damaged: its exec counts as pending", tx.path)
	}
	o := tx.state.Overwrite
	if o == nil {
		return nil
	}
	if err := tx.Fault.Before(AtRecover); err != nil {
		return err
	}
	switch {
	case tx.disk.exists && tx.disk.sha == o.SHA256: // but it may not be durable
		if err := errors.Join(tx.file.Sync(), tx.removeStaged()); err != nil {
			return err
		}
		return tx.state.finish(o.origin)
	case tx.disk.exists && tx.disk.sha != o.Before:
		return tx.complete(*o, frozen)
	}
	return errors.Join(tx.removeStaged(), tx.state.abandon())
}

// complete completes an overwrite from the staged copy, so that the file is whole again, even if another version is live by now.
// Only a lock prevents it.
func (tx *transaction) complete(o overwriteNote, frozen error) error {
	if _, locked := errors.AsType[*gate.Locked](frozen); locked {
		tx.result.note("%s may be torn: a run was killed while it overwrote it, and then it was locked", tx.path)
		return nil
	}
	dir, err := tx.staging()
	if err != nil {
		return err
	}
	content, err := dir.ReadFile(tx.file.Base, record.MaxPlain+1)
	if failed := dir.Close(); err != nil || failed != nil || record.Checksum(content) != o.SHA256 {
		tx.result.note("%s is torn: a run was killed while it overwrote it, and the staged copy is lost", tx.path)
		return errors.Join(tx.removeStaged(), tx.state.abandon())
	}
	if err := tx.file.WriteInPlace(content, tx.target.Attrs(tx.disk.Attrs)); err != nil {
		return fmt.Errorf("complete an overwrite: %w", err)
	}
	tx.result.note("completed the overwrite of %s that a killed run began", tx.path)
	if tx.disk, err = readFile(tx.file, false); err != nil {
		return err
	}
	return errors.Join(tx.removeStaged(), tx.state.finish(o.origin))
}

// staging opens the folder for the copy.
func (tx *transaction) staging() (*atomicfile.Dir, error) {
	dir, err := tx.folder.open(tx.stagedName(), true)
	if err != nil {
		return nil, &StateError{Dir: tx.StateDir, Err: err}
	}
	return dir, nil
}

// removeStaged removes the copy and its folder. The state folder is open.
func (tx *transaction) removeStaged() error { return tx.folder.dir.RemoveAll(tx.stagedName()) }
