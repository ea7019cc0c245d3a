package command

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"kvexpress/internal/safetext"
)

// Lookup checks that Run can start a program: a name in this process's PATH, or a path. The error names the program and a remedy.
func Lookup(program string) error {
	_, err := exec.LookPath(program)
	shown := safetext.Line(program, maxShownCommand)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not in PATH (%s); install it, or give its absolute path", shown,
			safetext.Line(os.Getenv("PATH"), maxShownLine))
	case errors.Is(err, exec.ErrDot):
		return fmt.Errorf("%s is in the current folder; give its absolute path", shown)
	}
	return fmt.Errorf("%s cannot be run: %w; install it, and make it executable", shown, bare(err))
}
