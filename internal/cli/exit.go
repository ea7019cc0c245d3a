package cli

import (
	"errors"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// The exit codes. They are a contract: scripts depend on them.
const (
	exitOK         = 0
	exitOther      = 1  // usage, or any other failure
	exitStopped    = 3  // the key is stopped
	exitLocked     = 4  // the file is locked
	exitMissing    = 5  // no such key, or version
	exitRefused    = 6  // the content is refused
	exitStore      = 7  // the store could not be reached, or refused us
	exitExec       = 8  // done, but the exec failed
	exitNotArrived = 9  // waited for arrival, not reached
	exitConflict   = 10 // --if-version did not hold, or the race was lost
)

// execError is a failed exec of a command other than out and raw.
type execError struct{ err error }

func (e *execError) Error() string { return "done, but the exec failed: " + e.err.Error() }
func (e *execError) Unwrap() error { return e.err }

// exitCode is the one table from an error to an exit code. The first row that
// fits counts.
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
		{is(errNothing), exitMissing},
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
