package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"kvexpress/internal/safetext"
)

// Wrapped by an *Error, beside the cause.
var (
	ErrNotStarted = errors.New("could not be started")
	ErrTimeout    = errors.New("did not finish in time") // within Command.Timeout
)

// Lengths in an error's message, in bytes.
const (
	maxShownCommand = 80
	maxShownLine    = 200
)

// Error is a command that did not start or did not succeed. The message is one line, and never shows the environment.
type Error struct {
	Argv0  string // the program, as given
	Output string // see Result
	Err    error  // wraps ErrNotStarted or ErrTimeout, the context's error, or an *exec.ExitError

	shown string // the whole command line, quoted
	what  string // happened to it
}

func (e *Error) Error() string {
	s := "command " + e.shown + " " + e.what
	if last := lastLine(e.Output); last != "" {
		s += ": " + last
	}
	return s
}

// Brief is the message without arguments and output.
func (e *Error) Brief() string {
	return "command \"" + safetext.Line(e.Argv0, maxShownCommand) + "\" " + e.what
}

func (e *Error) Unwrap() error { return e.Err }

func newError(argv []string, what string, cause error, output string) *Error {
	e := &Error{Err: cause, what: what, Output: output}
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

// bare is an error without the path, which the message has already.
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
