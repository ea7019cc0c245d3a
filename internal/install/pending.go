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
	// Pending: the exec has not succeeded yet for the bytes on disk.
	Pending bool
	Ran     bool    // it was part of the run, however that ended
	Frozen  *Frozen // what freezes it; nil if nothing does
	Err     error   // why it could not be looked at, or was left out; nil if it was part of the run, or owes nothing
}

// RunPending runs one exec once for all targets for which it is pending: targets with DeferExec
// that share the exec and its time limit. A target that is stopped, locked or unreadable is left
// out and stays pending. The results are in the order of the targets. The command's result is nil
// if nothing ran; the error is an *ExecError.
//
// The exec sees the same variables as that of one target, with a line for each.
func (d *Installer) RunPending(ctx context.Context, targets []Target) (*command.Result, []PendingResult, error) {
	results := make([]PendingResult, len(targets))
	var all []*owing
	defer func() {
		for _, o := range all {
			_ = o.close() // locks alone: nothing was written through them
		}
	}()
	for i, t := range targets {
		tx, err := d.transaction(t)
		if err != nil {
			results[i] = PendingResult{Pending: true, Err: err}
			continue
		}
		all = append(all, &owing{transaction: tx, result: &results[i]})
	}
	// In one order, whoever runs: else two of us could wait for each other.
	slices.SortFunc(all, func(a, b *owing) int { return cmp.Compare(a.path, b.path) })
	for i, o := range all {
		if i > 0 && all[i-1].path == o.path { // by a link; its lock is ours already
			*o.result = PendingResult{Pending: true,
				Err: fmt.Errorf("%s and %s are the same file; drop one of the two targets", all[i-1].target.File, o.target.File)}
			continue
		}
		o.open(ctx)
	}
	// Not before all are locked: to wait for one may take minutes, in which another is frozen.
	for _, o := range all {
		o.thaw(ctx)
	}
	owed := slices.DeleteFunc(slices.Clone(all), func(o *owing) bool { return !o.result.Pending || o.result.Err != nil })
	if len(owed) == 0 {
		return nil, results, nil
	}
	if err := owed[0].Fault.before(AtExec); err != nil {
		return nil, results, err
	}
	t := owed[0].target
	ran, err := command.Run(ctx, command.Command{Argv: t.Exec, Timeout: t.ExecTimeout, Env: envOf(owed)})
	for _, o := range owed {
		o.result.Ran = true
	}
	if err != nil {
		return &ran, results, &ExecError{File: t.File, Err: err}
	}
	for _, o := range owed {
		if o.result.Err = o.executed(o.disk.sha); o.result.Err == nil {
			o.result.Pending = false
		}
	}
	return &ran, results, nil
}

// owing is a target whose exec may be owed, locked as long as the exec runs.
type owing struct {
	*transaction
	result *PendingResult
}

// open finds out whether the exec is owed.
func (o *owing) open(ctx context.Context) {
	o.result.Pending = true
	if o.result.Err = o.look(ctx); o.result.Err != nil || !o.result.Pending {
		_ = o.close()
	}
}

// thaw leaves out what may not run because it is frozen.
func (o *owing) thaw(ctx context.Context) {
	if !o.result.Pending || o.result.Err != nil {
		return
	}
	if err := o.gates(ctx); err != nil {
		o.result.Err, o.result.Frozen = err, o.heldBy(err)
		_ = o.close()
	}
}

func (o *owing) look(ctx context.Context) error {
	if len(o.place.Missing) == 0 {
		if err := o.wait(ctx); err != nil {
			return err
		}
	}
	if err := o.transaction.look(); err != nil {
		return err
	}
	if o.state.Pending != nil {
		return fmt.Errorf("%s: an overwrite was cut off; the next delivery completes it", o.path)
	}
	o.result.Pending = o.disk.exists && o.state.found && o.state.owed(o.disk.sha)
	return nil
}

// envOf tells an exec what it is about: a line for each target.
func envOf(all []*owing) []string {
	lines := map[string][]string{}
	var names []string
	for _, o := range all {
		version := uint64(0)
		if o.state.Installed.SHA256 == o.disk.sha {
			version = o.state.Installed.Version
		}
		for _, pair := range o.env(o.disk.sha, version) {
			name, value, _ := strings.Cut(pair, "=")
			if lines[name] == nil {
				names = append(names, name)
			}
			lines[name] = append(lines[name], value)
		}
	}
	env := make([]string, len(names))
	for i, name := range names {
		env[i] = name + "=" + strings.Join(lines[name], "\n")
	}
	return env
}
