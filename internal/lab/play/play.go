//go:build linux

// Package play is the program of the lab: its commands, what they do in which order,
// and what they say. It owns the flags and the folder of a run, and imports the lab and
// its parts.
package play

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/lab"
)

// Run does what the arguments say, until it is done or a signal ends it, and returns the
// exit code: 0, or 1 for any failure. Nothing is left of what it began.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, done := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer done()
	// A pipe that nobody reads any more is then an error of a write, and not the end.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)

	root := newRoot(stdout)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	clean := !errors.Is(err, errLeft)
	if ctx.Err() != nil && clean {
		fmt.Fprintln(stderr, "lab: interrupted; all that it began has ended, and its folder is removed")
	}
	// What had failed before is no less true after an interruption.
	if because := errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err()); ctx.Err() == nil || !because || !clean {
		fmt.Fprintln(stderr, "lab:", err)
	}
	return 1
}

// errLeft is in an error that tells what could not be ended or removed.
var errLeft = errors.New("something is left")

// left marks an error of the clean-up, if there is one.
func left(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errLeft, err)
}

func newRoot(stdout io.Writer) *cobra.Command {
	root := newFleet(stdout)
	root.AddCommand(newScale(stdout))
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// page is what people read: lines with the time since the beginning. With the first
// write that fails it ends what is going on.
type page struct {
	to     io.Writer
	began  time.Time
	cancel context.CancelCauseFunc

	mu sync.Mutex
}

// say prints a line. It may be called from anywhere.
func (p *page) say(format string, args ...any) {
	p.print(fmt.Sprintf("%6.1fs  ", time.Since(p.began).Seconds()) + fmt.Sprintf(format, args...))
}

// print prints a line without a time.
func (p *page) print(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.to, line+"\n"); err != nil {
		p.cancel(fmt.Errorf("what happens cannot be told: %w", err))
	}
}

// withLab gives a function a lab that is not started, and a page, on which nothing is said
// if it is to be quiet. All that runs is ended, however the function ends.
func withLab(ctx context.Context, stdout io.Writer, quiet bool, o lab.Options, do func(context.Context, *page, *lab.Lab, lab.Tools) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &page{to: stdout, began: time.Now(), cancel: cancel}
	if quiet {
		p.to = io.Discard
	}
	return inFolder(ctx, func(dir string, tools lab.Tools) (err error) {
		o.Tools, o.Dir, o.Say = tools, filepath.Join(dir, "fleet"), func(line string) { p.say("%s", line) }
		l, err := lab.New(ctx, o)
		if err != nil {
			return err
		}
		defer func() {
			p.say("ending all programs")
			err = errors.Join(err, left(l.Close()))
		}()
		return do(ctx, p, l, tools)
	})
}

// inFolder gives a function a folder and a kvexpress that was built in it, and removes
// the folder, however the function ends.
func inFolder(ctx context.Context, do func(dir string, tools lab.Tools) error) (err error) {
	root, err := lab.SourceRoot()
	if err != nil {
		return err
	}
	tools, err := lab.FindTools(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kvexpress-lab-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() {
		err = errors.Join(err, left(os.RemoveAll(dir)))
	}()
	if tools.Kvexpress, err = lab.Build(ctx, root, dir); err != nil {
		return err
	}
	return do(dir, tools)
}
