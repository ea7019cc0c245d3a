package install

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/command"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// install puts new bytes in place, and runs the exec.
func (tx *transaction) install(ctx context.Context, content []byte, m mark) error {
	if err := tx.hold(ctx); err != nil {
		return err
	}
	was := tx.state.Installed
	if was.SHA256 != tx.disk.sha {
		was = mark{Key: m.Key, SHA256: tx.disk.sha}
	}
	if err := tx.put(ctx, content, m, tx.disk.wanted(tx.target), Installed); err != nil {
		return err
	}
	if err := tx.Fault.before(AtInstalled); err != nil {
		return err
	}
	tx.remember(m.SHA256)
	if err := tx.state.finish(m); err != nil {
		return err
	}
	if len(tx.target.Exec) == 0 {
		return tx.Fault.before(AtStateFinish)
	}
	if tx.target.DeferExec {
		return tx.Fault.before(AtStateFinish)
	}
	return tx.exec(ctx, m, &was)
}

// put stages, checks, gates once more, and replaces the file. The outcome is as
// from when it is in place.
func (tx *transaction) put(ctx context.Context, content []byte, m mark, attrs atomicfile.Attrs, as Action) (err error) {
	inPlace := tx.target.InPlace && tx.disk.exists
	if err := tx.Fault.before(AtPending); err != nil {
		return err
	}
	if err := tx.state.begin(pending{mark: m, Before: tx.disk.sha}, inPlace); err != nil {
		return err
	}
	over := false // whatever becomes of it, the state says so already
	defer func() {
		if !over {
			err = errors.Join(err, tx.state.abandon())
		}
	}()
	torn := false // the copy is needed to complete it
	var staged *atomicfile.Staged
	var copies *atomicfile.Dir
	if inPlace {
		if copies, err = tx.staging(); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, copies.Close())
			if !torn {
				err = errors.Join(err, tx.removeStaged())
			}
		}()
		staged, err = tx.stageCopy(copies, content, attrs)
	} else {
		staged, err = tx.file.Stage(content, attrs)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staged.Discard()) }()
	if err := tx.check(ctx, staged, content); err != nil {
		return err
	}
	if inPlace {
		if err := copies.Sync(); err != nil {
			return err
		}
		if over, err = tx.overwrite(staged, content, attrs); err == nil {
			tx.placed(as)
		}
		torn = over && err != nil
		return err
	}
	err = tx.file.Replace(staged)
	var unsynced *atomicfile.SyncError
	if over = err == nil || errors.As(err, &unsynced); over {
		tx.placed(as)
	}
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w; it is a mount point, as a bind-mounted file is: overwrite it with --in-place", err)
	}
	return err
}

// placed notes that the file has new bytes.
func (tx *transaction) placed(as Action) {
	tx.result.Action = as
	tx.result.Placed = time.Now()
	tx.result.ExecPending = len(tx.target.Exec) > 0
}

// stageCopy makes the copy of an in-place target.
func (tx *transaction) stageCopy(dir *atomicfile.Dir, content []byte, attrs atomicfile.Attrs) (*atomicfile.Staged, error) {
	if linked, err := tx.file.Linked(); err != nil || linked {
		return nil, errors.Join(err, fmt.Errorf("overwrite %s: %w", tx.path, atomicfile.ErrLinks))
	}
	if err := dir.Remove(tx.base()); err != nil { // of a run whose state was lost
		return nil, err
	}
	attrs.Like = nil // the copy is ours, on another file system perhaps
	return dir.Stage(tx.base(), content, attrs)
}

// overwrite is the last step of an in-place target. If it fails, the old bytes
// are put back. If even that fails, the file is torn, and over: the staged copy
// stays, and the next delivery completes it.
func (tx *transaction) overwrite(staged *atomicfile.Staged, content []byte, attrs atomicfile.Attrs) (over bool, err error) {
	err = tx.file.WriteInPlace(content, attrs)
	if err == nil {
		return true, nil
	}
	if tx.asBefore() {
		return false, err
	}
	if tx.disk.content != nil {
		back := tx.file.WriteInPlace(tx.disk.content, tx.disk.attrs())
		if tx.asBefore() {
			return false, err
		}
		err = errors.Join(err, back)
	}
	return true, errors.Join(fmt.Errorf("%s may be torn until the next delivery: %w", tx.path, err), staged.Leave())
}

// asBefore reports whether the file has the bytes that were there before.
func (tx *transaction) asBefore() bool {
	now, err := look(tx.file, false)
	return err == nil && tx.disk.sha != "" && now.sha == tx.disk.sha
}

// check runs the check on the staged file. It may take its time, so that lock and
// stop are gated again after it.
func (tx *transaction) check(ctx context.Context, staged *atomicfile.Staged, content []byte) error {
	if len(tx.target.Check) == 0 {
		return nil
	}
	if err := tx.Fault.before(AtCheck); err != nil {
		return err
	}
	tx.aside(content)
	result, err := command.Run(ctx, command.Command{Argv: FillFile(tx.target.Check, staged.Path()), Shown: tx.target.Check,
		Output: strings.NewReplacer(staged.Path(), FileMark), Timeout: tx.target.CheckTimeout,
		Env: tx.env(tx.result.SHA256, tx.result.Version)})
	tx.result.Check = &result
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("check %s: %w", tx.target.File, context.Cause(ctx))
		}
		return tx.checkFailed("the check of the new file failed: "+err.Error(), err)
	}
	changed, err := staged.Altered(content)
	if err != nil {
		return err
	}
	if changed != "" {
		return tx.checkFailed("its check changed the "+changed+" of the new file", nil)
	}
	return tx.gates(ctx)
}

func (tx *transaction) checkFailed(detail string, cause error) error {
	return &gate.Refusal{
		Reason: gate.CheckFailed, Key: kv.Key(tx.target.name()), Detail: detail,
		Remedy: "the file is left as it is", Err: cause,
	}
}
