package cli

import (
	"errors"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

// The exit codes are a contract: scripts depend on them. Package outcome has the same codes for the outcomes of a target.
const (
	exitOK         = 0
	exitOther      = 1  // usage, or any other failure
	exitStopped    = 3  // the key is stopped
	exitLocked     = 4  // the file is locked
	exitMissing    = 5  // no such key or version
	exitRefused    = 6  // the content is refused
	exitStore      = 7  // the store is unreachable or refused the request
	exitExec       = 8  // done, but the exec failed
	exitNotArrived = 9  // --wait: the goal was not reached
	exitConflict   = 10 // --if-version did not hold, or the race was lost
	exitRollout    = 11 // the rollout was reverted, halted, aborted or superseded
)

// execError is a failed exec of a command other than out and raw.
type execError struct{ err error }

func (e *execError) Error() string { return "done, but the exec failed: " + e.err.Error() }
func (e *execError) Unwrap() error { return e.err }

// strictError ends `agent status --strict` with the exit code of an outcome.
type strictError struct {
	error
	code int
}

// strictExit is the exit code of --strict for an outcome; exitOK if nothing is wrong. An outcome
// that this version does not know is a failure.
func strictExit(o outcome.Outcome) int {
	rank := o.Rank()
	if rank < 0 || o == outcome.Starting {
		return exitOther
	}
	if row := outcome.All()[rank]; !row.Strict { // stopped and locked are deliberate
		return row.Exit
	}
	return exitOK
}

// exitCode is the exit code of an error. The first row that fits counts.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if strict := (*strictError)(nil); errors.As(err, &strict) {
		return strict.code
	}
	for _, row := range []struct {
		fits func(error) bool
		code int
	}{
		{as[*install.ExecError], exitExec},
		{as[*execError], exitExec},
		{as[*fleet.NotReached], exitNotArrived},
		{as[*gate.Stopped], exitStopped},
		{as[*hold.StoppedError], exitStopped},
		{as[*gate.Locked], exitLocked},
		{as[*gate.Missing], exitMissing},
		{as[*record.NotKept], exitMissing},
		{as[*record.NeverLive], exitRollout},
		{as[*rolloutError], exitRollout},
		{as[*publish.NoRollout], exitMissing},
		{is(errNothing), exitMissing},
		{is(errNoNode), exitMissing},
		{is(fleet.ErrReceipt), exitRefused},
		{as[*gate.Refusal], exitRefused},
		{as[*embedded.ExportError], exitRefused},
		{is(kv.ErrTooLarge), exitRefused},
		{is(kv.ErrConflict), exitConflict},
		{is(kv.ErrUnreachable), exitStore},
		{is(kv.ErrUnknownOutcome), exitStore},
		{is(kv.ErrDenied), exitStore},
		{is(kv.ErrNotStore), exitStore},
		{is(kv.ErrRequest), exitStore},
	} {
		if row.fits(err) {
			return row.code
		}
	}
	return exitOther
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
