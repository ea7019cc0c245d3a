package deliver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/command"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// install puts new bytes in place, and runs the exec.
func (tx *transaction) install(ctx context.Context, content []byte, m mark) error {
	was := tx.state.Installed
	if was.SHA256 != tx.disk.sha {
		was = mark{Key: m.Key, SHA256: tx.disk.sha}
	}
	if err := tx.put(ctx, content, m, tx.disk.wanted(tx.target), Installed); err != nil {
		return err
	}
	if err := tx.Hook.before(StepInstalled); err != nil {
		return err
	}
	if err := tx.state.finish(m); err != nil {
		return err
	}
	if len(tx.target.Exec) == 0 {
		return tx.Hook.before(StepStateFinish)
	}
	return tx.exec(ctx, m, &was)
}

// put stages, checks, gates once more, and replaces the file. The outcome is as
// from when it is in place.
func (tx *transaction) put(ctx context.Context, content []byte, m mark, attrs atomicfile.Attrs, as Outcome) (err error) {
	dir := tx.dir
	p := pending{mark: m, Before: tx.disk.sha, Temp: atomicfile.TempName()}
	if tx.target.InPlace && tx.disk.exists {
		p.InPlace = true
		if dir, err = tx.openStaged(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dir.Close()) }()
	}
	if err := tx.Hook.before(StepPending); err != nil {
		return err
	}
	if err := tx.state.begin(p); err != nil {
		return err
	}
	over := false // whatever becomes of it, the state says so already
	defer func() {
		if !over {
			err = errors.Join(err, tx.state.abandon())
		}
	}()
	inPlace := attrs
	if p.InPlace {
		attrs.Like = nil // the copy is ours, on another file system perhaps
	}
	staged, err := dir.Stage(p.Temp, content, attrs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staged.Discard()) }()
	if err := tx.check(ctx, staged, content); err != nil {
		return err
	}
	if p.InPlace {
		if err := dir.Sync(); err != nil {
			return err
		}
		if over, err = tx.overwrite(staged, content, inPlace); err == nil {
			tx.result.Outcome = as
		}
		return err
	}
	err = tx.file.Replace(staged)
	var unsynced *atomicfile.SyncError
	if over = err == nil || errors.As(err, &unsynced); over {
		tx.result.Outcome = as
	}
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w; it is a mount point, as a bind-mounted file is: overwrite it with --in-place", err)
	}
	return err
}

func (tx *transaction) openStaged() (*atomicfile.Dir, error) {
	path, err := tx.state.staged()
	if err != nil {
		return nil, err
	}
	return atomicfile.OpenDir(path, tx.Hook.files())
}

// overwrite is the last step of an in-place target. If it fails, the old bytes
// are put back. If even that fails, the file is torn, and over: the staged copy
// stays, and the next delivery completes it.
func (tx *transaction) overwrite(staged *atomicfile.Staged, content []byte, attrs atomicfile.Attrs) (over bool, err error) {
	err = tx.dir.WriteInPlace(tx.file.Base, content, attrs)
	if err == nil {
		return true, nil
	}
	if tx.asBefore() {
		return false, err
	}
	if tx.disk.content != nil {
		back := tx.dir.WriteInPlace(tx.file.Base, tx.disk.content, tx.disk.attrs())
		if tx.asBefore() {
			return false, err
		}
		err = errors.Join(err, back)
	}
	return true, errors.Join(fmt.Errorf("%s may be torn until the next delivery: %w", tx.path, err), staged.Leave())
}

// asBefore reports whether the file has the bytes that were there before.
func (tx *transaction) asBefore() bool {
	now, err := look(tx.file)
	return err == nil && tx.disk.sha != "" && now.sha == tx.disk.sha
}

// check runs the check on the staged file. It may take its time, so that lock and
// stop are gated again after it.
func (tx *transaction) check(ctx context.Context, staged *atomicfile.Staged, content []byte) error {
	if len(tx.target.Check) == 0 {
		return nil
	}
	if err := tx.Hook.before(StepCheck); err != nil {
		return err
	}
	argv := make([]string, len(tx.target.Check))
	for i, a := range tx.target.Check {
		argv[i] = strings.ReplaceAll(a, FileMark, staged.Path())
	}
	_, err := command.Run(ctx, command.Command{Argv: argv, Shown: tx.target.Check, Timeout: tx.target.CheckTimeout, Env: tx.env(tx.result.SHA256, tx.result.Version)})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("check %s: %w", tx.target.File, context.Cause(ctx))
		}
		return tx.checkFailed("the check of the new file failed: " + strings.ReplaceAll(err.Error(), staged.Path(), FileMark))
	}
	same, err := staged.Holds(content)
	if err != nil {
		return err
	}
	if !same {
		return tx.checkFailed("its check wrote to the new file, which is no longer what was published")
	}
	return tx.gates(ctx)
}

func (tx *transaction) checkFailed(detail string) error {
	return &gate.Refusal{
		Reason: gate.CheckFailed, Key: kv.Key(tx.target.name()), Detail: detail,
		Remedy: "the file is left as it is",
	}
}

// exec runs the exec for the bytes on disk, and notes its success. It stays owed
// otherwise. With was, bytes have just been replaced, and may be restored.
func (tx *transaction) exec(ctx context.Context, m mark, was *mark) error {
	if err := tx.Hook.before(StepExec); err != nil {
		return err
	}
	result, err := tx.runExec(ctx, m)
	tx.result.Exec = &result
	if err != nil {
		// Interrupted is not failed: the exec stays owed, nothing is restored.
		if was != nil && tx.target.RestoreOnFailure && ctx.Err() == nil {
			return tx.restore(ctx, *was, err)
		}
		return &ExecError{File: tx.target.File, Err: err}
	}
	return tx.executed(m.SHA256)
}

func (tx *transaction) runExec(ctx context.Context, m mark) (command.Result, error) {
	return command.Run(ctx, command.Command{Argv: tx.target.Exec, Timeout: tx.target.ExecTimeout, Env: tx.env(m.SHA256, m.Version)})
}

func (tx *transaction) executed(sha string) error {
	if err := tx.Hook.before(StepExecDone); err != nil {
		return err
	}
	tx.state.Executed = sha
	if err := tx.state.save(false); err != nil {
		return err
	}
	return tx.Hook.before(StepStateFinish)
}

// restore puts the bytes from before back, and runs the exec for them: the one
// that failed may have left the service down.
func (tx *transaction) restore(ctx context.Context, was mark, cause error) (err error) {
	if err := tx.Hook.before(StepRestore); err != nil {
		return err
	}
	failed := &ExecError{File: tx.target.File, Err: cause}
	old := tx.disk
	if old.content == nil {
		tx.result.note("there is no old content to put back")
		return failed
	}
	if tx.disk, err = look(tx.file); err != nil {
		return errors.Join(failed, err)
	}
	attrs := old.attrs()
	attrs.Like = tx.disk.like
	tx.state.Executed = ""
	tx.target.Check = nil // the old bytes were good enough to be there
	err = tx.put(ctx, old.content, was, attrs, Restored)
	failed.Restored = tx.result.Outcome == Restored
	if err != nil {
		return errors.Join(failed, fmt.Errorf("put the old content back: %w", err))
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

// env tells a check or an exec what it is about.
func (tx *transaction) env(sha string, version uint64) []string {
	return []string{
		"KVEXPRESS_KEY=" + tx.target.name(),
		"KVEXPRESS_FILE=" + tx.target.File,
		"KVEXPRESS_SHA256=" + sha,
		"KVEXPRESS_VERSION=" + strconv.FormatUint(version, 10),
	}
}
