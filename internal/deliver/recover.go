package deliver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/codec"
	"kvexpress/internal/gate"
)

// recover loads the state, and clears up what a run before us left behind.
func (tx *transaction) recover() (err error) {
	if tx.state, err = loadState(tx.StateDir, tx.path); err != nil {
		return err
	}
	if tx.state.damaged {
		tx.result.note("the state of %s is damaged: its exec counts as owed", tx.path)
	}
	if tx.target.DryRun {
		return nil
	}
	if err := tx.sweep(); err != nil {
		return err
	}
	p := tx.state.Pending
	if p == nil {
		return nil
	}
	if err := tx.Hook.before(StepRecover); err != nil {
		return err
	}
	switch {
	case tx.disk.exists && tx.disk.sha == p.SHA256:
		// In place already, but perhaps not durable.
		if err := errors.Join(tx.file.Sync(), tx.removeTemp(*p)); err != nil {
			return err
		}
		return tx.state.finish(p.mark)
	case tx.disk.exists && p.InPlace && tx.disk.sha != p.Before:
		tx.torn = p
		return nil
	}
	if err := tx.removeTemp(*p); err != nil {
		return err
	}
	return tx.state.abandon()
}

// sweep removes the staged files of runs before us that were killed. Their names
// begin with a mark of the target, and nobody else can have one in use.
func (tx *transaction) sweep() error {
	if _, done := tx.swept.Load(tx.path); done {
		return nil
	}
	// Of a state file that cannot be written the next save will tell.
	_ = atomicfile.Sweep(tx.state.path)
	if err := tx.file.SweepTemps(); err != nil {
		return err
	}
	tx.swept.Store(tx.path, true)
	return nil
}

// mend completes an overwrite that was cut off, from the staged copy, whatever
// the store says by now: only so is the file whole again. A lock alone holds it
// back. known is what the gates said.
func (tx *transaction) mend(ctx context.Context, known error) error {
	if tx.target.Raw != "" {
		known = tx.gates(ctx)
	}
	if locked := (*gate.Locked)(nil); errors.As(known, &locked) {
		tx.result.note("%s may be torn: an overwrite of it was cut off before it was locked", tx.path)
		return nil
	}
	p := *tx.torn
	content, err := os.ReadFile(filepath.Join(stagedDir(tx.StateDir), filepath.Base(p.Temp)))
	if err != nil || codec.Checksum(content) != p.SHA256 {
		tx.result.note("%s is torn: an overwrite of it was cut off, and its staged copy is gone", tx.path)
		return errors.Join(tx.removeTemp(p), tx.state.abandon())
	}
	if err := tx.dir.WriteInPlace(tx.file.Base, content, tx.disk.wanted(tx.target)); err != nil {
		return fmt.Errorf("complete what was cut off: %w", err)
	}
	tx.result.note("an overwrite of %s that was cut off is complete now", tx.path)
	if tx.disk, err = look(tx.file, tx.target.keepsOld()); err != nil {
		return err
	}
	return errors.Join(tx.removeTemp(p), tx.state.finish(p.mark))
}

// removeTemp removes the staged file of a run that was killed.
func (tx *transaction) removeTemp(p pending) error {
	if !atomicfile.IsTempName(p.Temp) {
		return nil
	}
	if !p.InPlace {
		return tx.dir.Remove(p.Temp)
	}
	staged, err := tx.state.stagedFolder()
	if err != nil {
		return err
	}
	dir, err := atomicfile.OpenDir(staged, nil)
	if err != nil {
		return err
	}
	return errors.Join(dir.Remove(p.Temp), dir.Close())
}
