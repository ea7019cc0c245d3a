package install

import (
	"cmp"
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
func (tx *transaction) install(ctx context.Context, content []byte, now origin) error {
	if err := tx.lockNow(ctx); err != nil {
		return err
	}
	was := tx.state.of(tx.disk.sha)
	was.Key = cmp.Or(was.Key, now.Key)
	if err := tx.put(ctx, content, now, tx.target.Attrs(tx.disk.Attrs), Installed); err != nil {
		return err
	}
	tx.result.Back = was.Rollout != "" && now.Rollout == "" && now.SHA256 == was.BaseSHA256
	if err := tx.Fault.Before(AtInstalled); err != nil {
		return err
	}
	if err := tx.state.finish(now); err != nil {
		return err
	}
	if len(tx.target.Exec) == 0 || tx.target.DeferExec {
		return nil
	}
	return tx.exec(ctx, now, &was)
}

// put replaces the file. If it fails before the file is changed, it takes its note in the state back.
func (tx *transaction) put(ctx context.Context, content []byte, now origin, attrs atomicfile.Attrs, as Action) error {
	if err := tx.Fault.Before(AtBegin); err != nil {
		return err
	}
	put := tx.rename
	inPlace := tx.target.InPlace && tx.disk.exists
	if inPlace {
		put = tx.overwrite
	}
	if err := tx.state.begin(overwriteNote{origin: now, Before: tx.disk.sha}, inPlace); err != nil {
		return err
	}
	changed, err := put(ctx, content, attrs)
	if !changed {
		return errors.Join(err, tx.state.abandon())
	}
	if !errors.Is(err, errTorn) {
		tx.result.Action, tx.result.Placed = as, time.Now()
		tx.result.ExecPending, tx.result.Provisional = len(tx.target.Exec) > 0, now.Rollout
	}
	return err
}

// rename stages the content, checks it, and renames it over the file.
func (tx *transaction) rename(ctx context.Context, content []byte, attrs atomicfile.Attrs) (changed bool, err error) {
	staged, err := tx.file.Stage(content, attrs)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, staged.Discard()) }()
	if err := tx.check(ctx, staged, content); err != nil {
		return false, err
	}
	err = tx.file.Replace(staged)
	if errors.Is(err, syscall.EBUSY) {
		err = fmt.Errorf("%w; it is a mount point, as a bind-mounted file is: overwrite it with --in-place", err)
	}
	_, unsynced := errors.AsType[*atomicfile.SyncError](err)
	return err == nil || unsynced, err
}

// gatedFor is how old the last reading of stop and lock may be when the file is replaced. A slow disk, a wait for memory or a
// stopped process can make an install take longer.
const gatedFor = time.Second

// check runs the check on the staged file. Stop and lock are gated again after it, and if anything else took long.
func (tx *transaction) check(ctx context.Context, staged *atomicfile.Staged, content []byte) error {
	if len(tx.target.Check) > 0 {
		if err := tx.runCheck(ctx, staged, content); err != nil {
			return err
		}
	} else if time.Since(tx.gated) < gatedFor {
		return nil
	}
	return tx.readFrozen(ctx)
}

func (tx *transaction) runCheck(ctx context.Context, staged *atomicfile.Staged, content []byte) error {
	if err := tx.Fault.Before(AtCheck); err != nil {
		return err
	}
	tx.keepWhileRunning(content)
	ctx, done := tx.whileOffered(ctx)
	defer done()
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
	altered, err := staged.Altered(content)
	if err != nil {
		return err
	}
	if altered != "" {
		return tx.checkFailed("its check changed the "+altered+" of the new file", nil)
	}
	return nil
}

func (tx *transaction) checkFailed(detail string, cause error) error {
	return &gate.Refusal{
		Reason: gate.CheckFailed, Key: kv.Key(tx.target.name()), Detail: detail,
		Remedy: "the file stays as it is", Err: cause,
	}
}
