// Package proc runs the programs of a lab as systemd would, and waits for what they do.
// A Set ends all of its programs and whatever they have started, however the lab ends.
//
// It imports nothing of this module.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// restartAfter is how long a unit that ended is left alone, and stopTime how long one may
// take to end: a thousand of them share the processors.
const (
	restartAfter = time.Second
	stopTime     = time.Minute
)

// Unit is one program of a Set.
type Unit struct {
	Name    string
	Argv    []string
	Env     []string // in addition to the lab's
	Log     string   // file that gets what it prints; its folder is the working directory
	Restart bool     // start it again when it ends
	Remove  string   // file that is removed before each start, as ExecStartPre=rm does
	Last    bool     // it ends after all others, with SIGKILL

	set     *Set
	mu      sync.Mutex
	process *os.Process // nil: it does not run now
	wanted  context.Context
	stop    context.CancelFunc // of wanted; nil before the first start
	ended   chan struct{}      // closed when it has ended and does not start again
}

// Start runs the program, which must not run. What it left behind before has ended then.
func (u *Unit) Start() error {
	u.mu.Lock()
	ended := u.ended
	u.mu.Unlock()
	if ended != nil {
		<-ended
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wanted, u.stop = context.WithCancel(context.Background())
	u.ended = make(chan struct{})
	cmd, err := u.launch()
	if err != nil {
		close(u.ended)
		return err
	}
	go u.supervise(u.wanted, cmd, u.ended)
	return nil
}

// launch starts the process. The caller holds mu, so that Stop waits and then finds it.
func (u *Unit) launch() (*exec.Cmd, error) {
	if u.Remove != "" {
		if err := os.Remove(u.Remove); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	log, err := os.OpenFile(u.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	// Not CommandContext: Stop ends units, in order.
	cmd := exec.Command(u.Argv[0], u.Argv[1:]...) //nolint:noctx // see above
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Dir(u.Log), log, log
	cmd.Env = append(append(environ(), u.Env...), mark+"="+u.Log)
	if err := start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", u.Name, err)
	}
	u.process = cmd.Process
	return cmd, nil
}

// supervise waits for the process, and starts it again if that is wanted.
func (u *Unit) supervise(wanted context.Context, cmd *exec.Cmd, ended chan struct{}) {
	defer close(ended)
	for cmd != nil {
		_ = cmd.Wait() // how it ended is in its log
		u.mu.Lock()
		u.process, cmd = nil, nil
		again := u.Restart
		u.mu.Unlock()
		u.killOrphans()
		if !again {
			return
		}
		Sleep(wanted, restartAfter)
		u.mu.Lock()
		if wanted.Err() == nil {
			cmd, _ = u.launch() // PID is 0 if it does not run
		}
		u.mu.Unlock()
	}
}

// Stop ends the program and all that it started, with SIGTERM and then with SIGKILL,
// and waits for it. It is no error if it does not run.
func (u *Unit) Stop() error {
	u.mu.Lock()
	stop, ended := u.stop, u.ended
	u.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	if u.Last {
		u.Signal(syscall.SIGKILL)
	}
	u.Signal(syscall.SIGTERM)
	u.Signal(syscall.SIGCONT) // it may be paused
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	var err error
	select {
	case <-ended:
	case <-timer.C:
		err = fmt.Errorf("%s did not end within %v and was killed", u.Name, stopTime)
		u.Signal(syscall.SIGKILL)
		<-ended
	}
	return err
}

// Signal sends a signal to the process, if there is one.
func (u *Unit) Signal(s syscall.Signal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process != nil {
		_ = u.process.Signal(s) // it may be at its end
	}
}

// Pause freezes the process; Continue ends that.
func (u *Unit) Pause() { u.Signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (u *Unit) Continue() { u.Signal(syscall.SIGCONT) }

// PID is the process id; 0: it does not run.
func (u *Unit) PID() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process == nil {
		return 0
	}
	return u.process.Pid
}

// PIDs are those of the process and of all that it started, orphans included.
func (u *Unit) PIDs() []int { return marked(u.Log) }

// Alive is an error with the end of its log if the program does not run.
func (u *Unit) Alive() error {
	if u.PID() != 0 {
		return nil
	}
	return fmt.Errorf("%w: %s; its log ends with:\n%s", ErrEnded, u.Name, Tail(u.Log))
}

// killOrphans ends what the process has left behind. A Set that closes does it for all.
func (u *Unit) killOrphans() {
	if !u.set.closing.Load() {
		killMarked(u.Log)
	}
}
