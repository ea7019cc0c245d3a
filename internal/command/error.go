package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"kvexpress/internal/safetext"
)

// What an *Error wraps, beside the cause.
var (
	// ErrNotStarted: the program never ran.
	ErrNotStarted = errors.New("could not be started")
	// ErrTimeout: it did not finish within Command.Timeout.
	ErrTimeout = errors.New("did not finish in time")
)

// Lengths in an error's message, in bytes.
const (
	maxShownCommand = 80
	maxShownLine    = 200
)

// Error says that a command did not do what it was to do. The message is one
// line, and never shows the environment.
type Error struct {
	Argv0    string // the program, as it was given
	Output   string // see Result
	LastLine string // the last line of output that is not blank; escaped, at most 200 bytes
	// Err is why: it wraps ErrNotStarted or ErrTimeout, the context's error, or
	// an *exec.ExitError.
	Err error

	shown string // the whole command line, quoted
	what  string // what happened to it
}

func (e *Error) Error() string {
	s := "command " + e.shown + " " + e.what
	if e.LastLine != "" {
		s += ": " + e.LastLine
	}
	return s
}

// Brief is what happened to which program, without its arguments and output.
func (e *Error) Brief() string {
	return "command \"" + safetext.Line(e.Argv0, maxShownCommand) + "\" " + e.what
}

func (e *Error) Unwrap() error { return e.Err }

func newError(argv []string, what string, cause error, output string) *Error {
	e := &Error{Err: cause, what: what, Output: output, LastLine: lastLine(output)}
	if len(argv) > 0 {
		e.Argv0 = argv[0]
	}
	e.shown = `"` + safetext.Line(strings.Join(argv, " "), maxShownCommand) + `"`
	return e
}

func notStarted(argv []string, cause error) *Error {
	what := ErrNotStarted.Error() + ": " + safetext.Line(bare(cause).Error(), maxShownLine)
	return newError(argv, what, fmt.Errorf("%w: %w", ErrNotStarted, cause), "")
}

// bare takes off what Go wraps around the reason of a failed start, such as
// the path, which our own message has already.
func bare(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err
}

// lastLine is the last line that is not blank, fit for a message.
func lastLine(output string) string {
	output = strings.TrimSpace(output)
	last := output[strings.LastIndex(output, "\n")+1:]
	return safetext.Line(strings.TrimSpace(last), maxShownLine)
}
