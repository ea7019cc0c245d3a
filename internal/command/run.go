package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/safetext"
)

// Defaults of a Command.
const (
	DefaultTimeout = time.Minute
	DefaultGrace   = 2 * time.Second
)

// reapDelay is how long a program may take to die of SIGKILL.
const reapDelay = 10 * time.Second

// Command is a program to run.
type Command struct {
	Argv    []string          // the program, looked up in PATH if it has no slash, and its arguments
	Shown   []string          // in errors instead of Argv; nil: Argv
	Output  *strings.Replacer // applied to the output; nil: none
	Timeout time.Duration     // 0: DefaultTimeout
	Grace   time.Duration     // from SIGTERM to SIGKILL; 0: DefaultGrace
	Env     []string          // more environment, as KEY=VALUE
	Input   []byte            // standard input; nil: /dev/null
}

// Result describes a command after Run.
type Result struct {
	ExitCode int           // -1 if it did not exit by itself
	Signal   string        // that ended it, such as "SIGKILL", or ""
	Output   string        // the end of stdout and stderr, in order: printable lines, at most MaxOutput bytes
	Duration time.Duration // of Run
}

// Run starts a command in a process group of its own, and waits for its end. Anything but exit
// status 0 is an *Error; the Result is as complete as possible then, too.
//
// When the time is up or ctx ends, the group gets SIGTERM, and SIGKILL if any of it is left after Grace. Else children in the
// background may stay: a reload may start a daemon. Output is read until shortly after the program's end; then the pipe is
// closed. Out of reach are children that leave the group, and programs that we cannot signal or that hang in the kernel: Run
// gives up on them and says so.
func Run(ctx context.Context, c Command) (Result, error) {
	return run(ctx, c, killer{kill: syscall.Kill, reapDelay: reapDelay})
}

func run(ctx context.Context, c Command, k killer) (Result, error) {
	running.RLock()
	defer isOver()
	start := time.Now()
	result := Result{ExitCode: -1}
	c.Timeout, c.Grace = cmp.Or(c.Timeout, DefaultTimeout), cmp.Or(c.Grace, DefaultGrace)
	if c.Shown == nil {
		c.Shown = c.Argv
	}
	var out capture
	cmd, closeOutput, err := c.start(ctx, &out)
	if err != nil {
		return result, notStarted(c.Shown, err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // ends with the program

	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, ErrTimeout)
	defer cancel()
	var cut error // why it was ended early
	e := end{reaped: true}
	select {
	case e.err = <-exited:
	case <-ctx.Done():
		cut = context.Cause(ctx)
		e = k.stop(cmd.Process.Pid, c.Grace, exited)
	}
	closeOutput()

	result.Output = out.String()
	if c.Output != nil {
		result.Output = c.Output.Replace(result.Output)
	}
	if e.reaped {
		result.ExitCode, result.Signal = status(cmd.ProcessState)
	}
	result.Duration = time.Since(start)
	if what, cause := c.verdict(result, cut, e); what != "" {
		return result, newError(c.Shown, what, cause, result.Output)
	}
	return result, nil
}

func (c *Command) start(ctx context.Context, out *capture) (cmd *exec.Cmd, closeOutput func(), err error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return nil, nil, errors.New("no program is given")
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	// Not CommandContext: it would signal the program, not its group.
	cmd = exec.Command(c.Argv[0], c.Argv[1:]...) //nolint:noctx // see above
	cmd.Env = environ(os.Environ(), c.Env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.Input != nil {
		input, err := inputFile(c.Input)
		if err != nil {
			return nil, nil, err
		}
		defer func() { _ = input.Close() }() // the child has its own
		cmd.Stdin = input
	}
	closeOutput, err = startCaptured(cmd, out)
	return cmd, closeOutput, err
}

func status(s *os.ProcessState) (code int, signal string) {
	ws, ok := s.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		return s.ExitCode(), ""
	}
	if signal = unix.SignalName(ws.Signal()); signal == "" {
		signal = fmt.Sprintf("signal %d", ws.Signal())
	}
	return -1, signal
}

// verdict says what went wrong, and the cause; "" if nothing did.
func (c *Command) verdict(r Result, cut error, e end) (what string, cause error) {
	fate := "and was killed"
	if !e.reaped {
		fate = "and is still running, even after SIGKILL"
		if e.err != nil {
			fate = "and could not be killed: " + e.err.Error()
		}
	}
	switch {
	case errors.Is(cut, ErrTimeout):
		return fmt.Sprintf("did not finish in %v %s", c.Timeout, fate), errors.Join(cut, e.err)
	case cut != nil:
		return fmt.Sprintf("was interrupted (%s) %s", safetext.Line(cut.Error(), maxShownLine), fate), errors.Join(cut, e.err)
	case r.Signal != "":
		return "was killed by " + r.Signal, e.err
	case r.ExitCode != 0:
		return fmt.Sprintf("failed: exit status %d", r.ExitCode), e.err
	case e.err != nil:
		return "failed: " + safetext.Line(e.err.Error(), maxShownLine), e.err
	}
	return "", nil
}

// environ is the environment of a child: the parent's without secrets, then the caller's entries. The last entry of a name
// counts.
func environ(parent, extra []string) []string {
	var env []string
	for _, entry := range parent {
		if name, _, _ := strings.Cut(entry, "="); !secret(name) {
			env = append(env, entry)
		}
	}
	return append(env, extra...)
}

// secret reports whether children do not get a variable. The package comment has the list for people.
func secret(name string) bool {
	switch name {
	case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
		"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH", "CONSUL_TOKEN", "CONSUL_CLIENT_KEY",
		"DATADOG_API_KEY", "DATADOG_APP_KEY", "DD_API_KEY", "DD_APP_KEY":
		return true
	}
	ours, found := strings.CutPrefix(name, "KVEXPRESS_")
	return found && strings.Contains(ours, "TOKEN")
}

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
