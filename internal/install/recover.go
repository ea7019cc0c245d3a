package install

import (
	"context"
	"errors"
	"fmt"

	"kvexpress/internal/gate"
	"kvexpress/internal/record"
)

// tidy removes the lock folder of a run that was killed, if we may and no process holds it. It
// does not matter to a run with nothing to do if it stays.
func (tx *transaction) tidy(ctx context.Context) {
	if tx.file.Unfinished() {
		_ = tx.hold(ctx)
	}
}

// recover clears up what a run before us left behind. known is what the gates said.
func (tx *transaction) recover(ctx context.Context, known error) error {
	if err := tx.hold(ctx); err != nil { // which removes staged files
		return err
	}
	if tx.state.damaged {
		tx.result.note("the state of %s is damaged: its exec counts as owed", tx.path)
	}
	p := tx.state.Pending
	if p == nil {
		return nil
	}
	if err := tx.Fault.before(AtRecover); err != nil {
		return err
	}
	switch {
	case tx.disk.exists && tx.disk.sha == p.SHA256:
		// In place already, but perhaps not durable.
		if err := errors.Join(tx.file.Sync(), tx.removeStaged()); err != nil {
			return err
		}
		return tx.state.finish(p.mark)
	case tx.disk.exists && tx.disk.sha != p.Before:
		return tx.mend(*p, known)
	}
	return errors.Join(tx.removeStaged(), tx.state.abandon())
}

// mend completes an overwrite that was cut off, from the staged copy, whatever
// the store says by now: only so is the file whole again. A lock alone holds it
// back. known is what the gates said.
func (tx *transaction) mend(p pending, known error) error {
	if locked := (*gate.Locked)(nil); errors.As(known, &locked) {
		tx.result.note("%s may be torn: an overwrite of it was cut off before it was locked", tx.path)
		return nil
	}
	dir, err := tx.staging()
	if err != nil {
		return err
	}
	content, err := dir.ReadFile(tx.base(), record.MaxPlain+1)
	if failed := dir.Close(); err != nil || failed != nil || record.Checksum(content) != p.SHA256 {
		tx.result.note("%s is torn: an overwrite of it was cut off, and its staged copy is gone", tx.path)
		return errors.Join(tx.removeStaged(), tx.state.abandon())
	}
	if err := tx.file.WriteInPlace(content, tx.disk.wanted(tx.target)); err != nil {
		return fmt.Errorf("complete what was cut off: %w", err)
	}
	tx.result.note("an overwrite of %s that was cut off is complete now", tx.path)
	if tx.disk, err = look(tx.file, false); err != nil {
		return err
	}
	return errors.Join(tx.removeStaged(), tx.state.finish(p.mark))
}
