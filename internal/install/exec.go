package install

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"kvexpress/internal/command"
)

// exec runs the exec for the bytes on disk, and notes its success; else it stays pending. If bytes were just replaced, was is the
// origin of the old ones, which may be restored.
func (tx *transaction) exec(ctx context.Context, now origin, was *origin) error {
	if err := tx.Fault.Before(AtExec); err != nil {
		return err
	}
	tx.keepWhileRunning(nil)
	result, err := tx.runExec(ctx, now)
	tx.result.Exec = &result
	if err != nil {
		interrupted := ctx.Err() != nil
		if was != nil && tx.target.RestoreOnFailure && !interrupted {
			return tx.restore(ctx, *was, err)
		}
		return &ExecError{File: tx.target.File, Err: err}
	}
	return tx.executed(now.SHA256)
}

func (tx *transaction) runExec(ctx context.Context, now origin) (command.Result, error) {
	return command.Run(ctx, command.Command{
		Argv: tx.target.Exec, Timeout: tx.target.ExecTimeout, Env: tx.env(now.SHA256, now.Version),
	})
}

func (tx *transaction) executed(sha string) error {
	if err := tx.Fault.Before(AtExecDone); err != nil {
		return err
	}
	tx.state.ran(sha)
	if err := tx.state.save(false); err != nil {
		return err
	}
	tx.result.ExecPending = false
	return nil
}

// restore puts the old bytes back, and runs the exec for them: the one that failed may have left the service down.
func (tx *transaction) restore(ctx context.Context, was origin, cause error) (err error) {
	if err := tx.Fault.Before(AtRestore); err != nil {
		return err
	}
	failed := &ExecError{File: tx.target.File, Err: cause}
	old := tx.disk
	if old.content == nil {
		tx.result.note("there is no old content to restore")
		return failed
	}
	if tx.disk, err = readFile(tx.file, false); err != nil {
		return errors.Join(failed, err)
	}
	attrs := old.Attrs
	attrs.Like = tx.disk.Like
	tx.state.ran("")
	tx.target.Check = nil // the old bytes passed it before
	err = tx.put(ctx, old.content, was, attrs, Restored)
	failed.Restored = tx.result.Action == Restored
	if err != nil {
		return errors.Join(failed, fmt.Errorf("restore the old content: %w", err))
	}
	if err := tx.state.finish(was); err != nil {
		return errors.Join(failed, err)
	}
	if _, err := tx.runExec(ctx, was); err != nil {
		tx.result.note("the exec failed for the old content too: %v", err)
		return failed
	}
	return errors.Join(failed, tx.executed(was.SHA256))
}

func (tx *transaction) env(sha string, version uint64) []string {
	return Env(tx.target.name(), tx.target.File, sha, version)
}

// Env is the environment of a check, an exec or a probe.
func Env(key, file, sha string, version uint64) []string {
	return []string{
		"KVEXPRESS_KEY=" + key,
		"KVEXPRESS_FILE=" + file,
		"KVEXPRESS_SHA256=" + sha,
		"KVEXPRESS_VERSION=" + strconv.FormatUint(version, 10),
	}
}
