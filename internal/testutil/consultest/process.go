package consultest

import (
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Process is one run of a program. It ends with the test program at the latest.
type Process struct {
	Cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and was waited for
}

// StartProcess runs bin with its output appended to the file log.
func StartProcess(bin string, args, env []string, dir, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the child has its own
	// Not CommandContext: clean-ups of the test may still need the program.
	cmd := exec.Command(bin, args...)
	cmd.Env, cmd.Dir = env, dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	p := &Process{Cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // a killed program is an error here, and often wanted
	}()
	return p, nil
}

// Signal sends a signal.
func (p *Process) Signal(sig os.Signal) { _ = p.Cmd.Process.Signal(sig) } // it may have ended by itself

// End sends sig and waits. A program that does not end in time is killed.
func (p *Process) End(sig os.Signal) {
	p.Signal(sig)
	timer := time.NewTimer(15 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.Cmd.Process.Kill()
		<-p.done
	}
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
