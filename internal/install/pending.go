package install

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"kvexpress/internal/command"
)

// PendingResult is the result of RunPending for one target.
type PendingResult struct {
	Pending bool    // the exec has not succeeded yet for the bytes on disk
	Ran     bool    // the target was part of the run
	Frozen  *Frozen // the row that freezes the target; nil if none does
	Err     error   // why the target was left out; nil if it was part of the run, or its exec is not pending
}

// RunPending runs one exec once for all targets for which it is pending: targets with DeferExec that share the exec and its time
// limit. A target that is stopped, locked or unreadable is left out and stays pending. The results are in the order of the
// targets. The command's result is nil if nothing ran; the error is an *ExecError.
//
// The exec's variables are those of an exec for one target, with a line for each.
func (d *Installer) RunPending(ctx context.Context, targets []Target) (*command.Result, []PendingResult, error) {
	results := make([]PendingResult, len(targets))
	var all []*execTarget
	defer func() {
		for _, t := range all {
			_ = t.close() // locks alone: nothing was written through them
		}
	}()
	for i, t := range targets {
		results[i].Pending = true
		tx, err := d.begin(t)
		if err != nil {
			results[i].Err = err
			continue
		}
		all = append(all, &execTarget{transaction: tx, PendingResult: &results[i]})
	}
	// Every process locks in the same order: else two could wait for each other.
	slices.SortFunc(all, func(a, b *execTarget) int { return cmp.Compare(a.path, b.path) })
	for i, t := range all {
		if i > 0 && all[i-1].path == t.path { // by a link; its lock is ours already
			t.Err = fmt.Errorf("%s and %s are the same file; remove one of the two targets", all[i-1].target.File, t.target.File)
			continue
		}
		t.skip(t.readPending(ctx))
	}
	// A wait for a lock may take minutes, in which another target is frozen: stop and lock are read after all waits.
	for _, t := range all {
		if t.Pending && t.Err == nil {
			t.skip(t.readFrozen(ctx))
		}
	}
	pending := slices.DeleteFunc(slices.Clone(all), func(t *execTarget) bool { return !t.Pending || t.Err != nil })
	if len(pending) == 0 {
		return nil, results, nil
	}
	first := pending[0]
	if err := first.Fault.Before(AtExec); err != nil {
		return nil, results, err
	}
	ran, err := command.Run(ctx, command.Command{Argv: first.target.Exec, Timeout: first.target.ExecTimeout, Env: envOf(pending)})
	for _, t := range pending {
		if t.Ran = true; err == nil {
			t.Err = t.executed(t.disk.sha)
			t.Pending = t.Err != nil
		}
	}
	if err != nil {
		err = &ExecError{File: first.target.File, Err: err}
	}
	return &ran, results, err
}

// execTarget is a target whose exec may be pending. It is locked while the exec runs.
type execTarget struct {
	*transaction
	*PendingResult
}

// skip unlocks a target that is not part of the run.
func (t *execTarget) skip(err error) {
	if err == nil && t.Pending {
		return
	}
	t.Err, t.Frozen = err, t.frozenBy(err)
	_ = t.close() // locks alone
}

// readPending locks the target, and finds out whether the exec is pending.
func (t *execTarget) readPending(ctx context.Context) error {
	if len(t.file.Missing) == 0 {
		if err := t.lock(ctx); err != nil {
			return err
		}
	}
	if err := t.readDisk(); err != nil {
		return err
	}
	if t.state.Overwrite != nil {
		return fmt.Errorf("%s: a run was killed while it overwrote it; the next install completes it", t.path)
	}
	t.Pending = t.disk.exists && t.state.found && t.state.pending(t.disk.sha)
	return nil
}

// envOf is the environment of an exec for several targets: a line for each.
func envOf(all []*execTarget) []string {
	var names []string
	lines := map[string][]string{}
	for _, t := range all {
		version := uint64(0)
		if t.state.Installed.SHA256 == t.disk.sha {
			version = t.state.Installed.Version
		}
		for _, pair := range t.env(t.disk.sha, version) {
			name, value, _ := strings.Cut(pair, "=")
			if lines[name] == nil {
				names = append(names, name)
			}
			lines[name] = append(lines[name], value)
		}
	}
	for i, name := range names {
		names[i] = name + "=" + strings.Join(lines[name], "\n")
	}
	return names
}
