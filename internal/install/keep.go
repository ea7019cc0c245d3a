package install

import (
	"context"
	"fmt"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/gate"
	"kvexpress/internal/record"
)

// keep handles a file with the live bytes. Its mode or owner may be wrong, its exec pending, its state outdated.
func (tx *transaction) keep(ctx context.Context, live record.Live) error {
	m, sha := live.Own(), live.SHA256
	tx.describe(sha, m, tx.disk.size, tx.disk.lines)
	if err := gate.LongEnough(tx.target.Key, tx.disk.size, tx.result.Lines, tx.target.MinLines); err != nil {
		return err
	}
	drifted, adopted := tx.disk.drifted(tx.target.Attrs(tx.disk.Attrs)), !tx.state.found
	pending := len(tx.target.Exec) > 0 && !adopted && tx.state.pending(sha)
	if tx.target.DryRun {
		tx.result.Action, tx.result.ExecPending = wouldKeep(drifted, pending), pending
		return nil
	}
	now := tx.originOf(sha, m)
	outdated := adopted || (tx.state.Installed != now && !gate.Older(tx.state.Installed.Lineage, tx.state.Installed.current(), m))
	if drifted || outdated || pending {
		if err := tx.lockNow(ctx); err != nil {
			return err
		}
	} else if tx.file.Unfinished() {
		_ = tx.lockNow(ctx) // to remove the lock folder of a killed run, if nothing prevents it
	}
	tx.result.Action = Unchanged
	if drifted {
		if err := tx.correct(ctx); err != nil {
			tx.result.Action = NoAction
			return err
		}
		tx.result.Action = Repaired
	}
	if adopted {
		tx.state.ran(sha)
	}
	if outdated {
		if tx.state.Installed.SHA256 != sha { // a killed run may not have made the file durable
			if err := tx.file.Sync(); err != nil {
				return err
			}
		}
		if err := tx.state.finish(now); err != nil {
			return err
		}
	}
	if tx.result.Provisional = ""; tx.offer != nil {
		tx.result.Provisional = tx.offer.ID
	}
	if tx.result.ExecPending = pending; !pending || tx.target.DeferExec {
		return nil
	}
	if tx.result.Action == Unchanged {
		tx.result.Action = ExecRan
	}
	tx.result.note("running the pending exec")
	ctx, done := tx.interruptible(ctx)
	defer done()
	return tx.exec(ctx, now, nil)
}

func wouldKeep(drifted, pending bool) Action {
	switch {
	case drifted:
		return WouldRepair
	case pending:
		return WouldExec
	}
	return Unchanged
}

// correct sets owner and mode. It replaces a file with other hard links by a new one, and leaves those as they are.
func (tx *transaction) correct(ctx context.Context) error {
	attrs := tx.target.Attrs(tx.disk.Attrs)
	linked, err := tx.file.Linked()
	if err != nil {
		return err
	}
	if !linked {
		return tx.file.SetAttrs(attrs)
	}
	if tx.target.InPlace {
		return fmt.Errorf("correct owner and mode of %s: %w", tx.path, atomicfile.ErrLinks)
	}
	if err := tx.share.need(ctx, tx.disk.size); err != nil {
		return err
	}
	now, err := readFile(tx.file, true)
	if err != nil {
		return err
	}
	return tx.file.Write(now.content, attrs)
}
