package install

import (
	"cmp"
	"context"
	"errors"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/command"
	"kvexpress/internal/kv"
)

// lockWait is how long an install waits for another process that works on the same target, beyond the time limits of its check
// and exec.
const lockWait = 30 * time.Second

// Installer installs targets. It is safe for concurrent use.
type Installer struct {
	Store    kv.Reader
	Layout   kv.Layout
	Host     string // the operating system's host name: locks go by it
	StateDir string // absolute; see DefaultStateDir
	// Interruptible returns a context that ends with a signal. It is called once there is something to do. Before, a signal may
	// end the program anywhere, and setting signals up is a tenth of a run with nothing to do. nil: the caller's context is used.
	Interruptible func(context.Context) (context.Context, context.CancelFunc)
	Fault         FaultHook // nil but in tests
}

func (d *Installer) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.Interruptible == nil {
		return ctx, func() {}
	}
	return d.Interruptible(ctx)
}

// Install makes the target's file the live version, and runs its check and exec.
//
// The error is a *gate.Locked or *gate.Stopped (frozen on purpose), a *gate.Missing, a *gate.Refusal, an *ExecError, a
// *StateError, or wraps an error of kv or atomicfile. The result is valid beside an error: its Action tells whether the file
// was changed.
func (d *Installer) Install(ctx context.Context, t Target) (Result, error) {
	return d.InstallData(ctx, t, nil, nil)
}

// InstallData is Install for a caller that has the data of the key, as stored, from a watch for example. The data may be
// outdated; if it is current, it saves a request. The share is the caller's part of Limits.
func (d *Installer) InstallData(ctx context.Context, t Target, data []byte, share *Share) (Result, error) {
	tx, err := d.begin(t)
	if err != nil {
		return Result{}, err
	}
	tx.data, tx.share = data, share
	err = errors.Join(tx.run(ctx), tx.close())
	tx.result.Frozen = tx.frozenBy(err)
	return tx.result, err
}

func (d *Installer) begin(t Target) (*transaction, error) {
	file, err := atomicfile.Find(t.File, d.Fault)
	if err != nil {
		return nil, err
	}
	path := file.Path()
	locks := []string{d.Layout.Lock(t.File, d.Host)}
	if path != t.File {
		locks = append(locks, d.Layout.Lock(path, d.Host))
	}
	return &transaction{
		Installer: d, target: t, locks: locks, file: file, path: path, folder: stateFolder{path: d.StateDir},
		result: Result{Began: time.Now(), Key: t.name(), File: t.File, Path: path},
	}, nil
}

// Longest is the longest time that one install of a target may take, with a wait for another process that does the same. It does
// not count requests, which have limits of their own.
func Longest(t Target) time.Duration {
	return lockWait + cmp.Or(t.CheckTimeout, command.DefaultTimeout) + 2*cmp.Or(t.ExecTimeout, command.DefaultTimeout)
}
