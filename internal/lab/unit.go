//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// unitEnv is in the environment of a unit's processes and of whatever they start:
	// by it all of them are found.
	unitEnv = "KVEXPRESS_LAB_UNIT"
	// restartAfter is how long a unit that ended is left alone.
	restartAfter = time.Second
	// stopTime is how long a process may take to end when it is told to.
	stopTime = 10 * time.Second
)

// Unit is a program of the lab, run as systemd would run it: what it started ends with
// it, and with Restart it is started again when it ends.
type Unit struct {
	Name    string
	Argv    []string
	Env     []string // in addition to the lab's
	Dir     string
	Log     string // file that gets what it prints
	Restart bool
	// KeepOrphans leaves alive what the main process started when that is killed, as
	// it is without systemd, unless that has asked the kernel to end with it.
	KeepOrphans bool
	// Remove is a file that is taken away before each start, as ExecStartPre=rm does. "":
	// none.
	Remove string

	spawner *spawner
	mu      sync.Mutex
	run     *run
}

// run is one start of a unit, with all its restarts.
type run struct {
	mu       sync.Mutex
	process  *os.Process // the main one; nil between two
	starts   int
	stopping chan struct{}
	ended    chan struct{}
	err      error // why it could not be started again; to be read after ended
}

// Start runs the program. It is an error if it runs already.
func (u *Unit) Start() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.run != nil {
		select {
		case <-u.run.ended:
		default:
			return fmt.Errorf("%s runs already", u.Name)
		}
	}
	r := &run{stopping: make(chan struct{}), ended: make(chan struct{})}
	cmd, err := u.launch(r)
	if err != nil {
		return err
	}
	u.run = r
	go func() {
		defer close(r.ended)
		u.supervise(r, cmd)
	}()
	return nil
}

// launch starts the main process.
func (u *Unit) launch(r *run) (*exec.Cmd, error) {
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
	// Not CommandContext: units are ended in order, by Stop.
	cmd := exec.Command(u.Argv[0], u.Argv[1:]...) //nolint:noctx // see above
	cmd.Dir, cmd.Stdout, cmd.Stderr = u.Dir, log, log
	cmd.Env = append(append(environ(), u.Env...), unitEnv+"="+u.mark())
	if err := u.spawner.start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", u.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = cmd.Process
	r.starts++
	return cmd, nil
}

// supervise waits for the main process, and starts it again if that is wanted.
func (u *Unit) supervise(r *run, cmd *exec.Cmd) {
	for {
		_ = cmd.Wait() // how it ended is in its log
		r.mu.Lock()
		r.process = nil
		r.mu.Unlock()
		stopping := func() bool {
			select {
			case <-r.stopping:
				return true
			default:
				return false
			}
		}
		if !u.KeepOrphans || stopping() {
			u.killGroup()
		}
		if !u.Restart || stopping() {
			return
		}
		timer := time.NewTimer(restartAfter)
		select {
		case <-r.stopping:
			timer.Stop()
			return
		case <-timer.C:
		}
		var err error
		if cmd, err = u.launch(r); err != nil {
			r.err = err
			return
		}
		if stopping() {
			r.signal(syscall.SIGTERM) // Stop found nobody to tell
		}
	}
}

// Stop ends the program and all that it started, with SIGTERM and then with SIGKILL,
// and waits for it. It is no error if it does not run.
func (u *Unit) Stop() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.run == nil {
		return nil
	}
	close(u.run.stopping)
	u.run.signal(syscall.SIGTERM)
	u.run.signal(syscall.SIGCONT) // one that was paused
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-u.run.ended:
	case <-timer.C:
		u.run.signal(syscall.SIGKILL)
		<-u.run.ended
	}
	err := u.run.err
	u.run = nil
	u.killGroup() // orphans of an earlier kill
	return err
}

// Kill ends the main process with SIGKILL, and waits until it is gone. With Restart it
// comes again.
func (u *Unit) Kill(ctx context.Context) error {
	u.mu.Lock()
	r := u.run
	u.mu.Unlock()
	if r == nil {
		return fmt.Errorf("%s does not run", u.Name)
	}
	r.mu.Lock()
	process := r.process
	r.mu.Unlock()
	if process == nil {
		return fmt.Errorf("%s does not run", u.Name)
	}
	if err := process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", u.Name, err)
	}
	return poll(ctx, "the end of "+u.Name, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.process == process {
			return errors.New("it is still there")
		}
		return nil
	})
}

// Pause freezes the main process with SIGSTOP; Continue ends that.
func (u *Unit) Pause() { u.signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (u *Unit) Continue() { u.signal(syscall.SIGCONT) }

// PID is that of the main process; 0: it does not run.
func (u *Unit) PID() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.run == nil {
		return 0
	}
	u.run.mu.Lock()
	defer u.run.mu.Unlock()
	if u.run.process == nil {
		return 0
	}
	return u.run.process.Pid
}

// PIDs are those of the main process and of all that it started, also of what it was
// killed away from.
func (u *Unit) PIDs() []int { return marked(u.mark()) }

func (u *Unit) signal(s syscall.Signal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.run != nil {
		u.run.signal(s)
	}
}

func (r *run) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		_ = r.process.Signal(s) // it may be at its end
	}
}

func (u *Unit) mark() string { return u.Log }

// killGroup ends what the main process has left behind.
func (u *Unit) killGroup() { killMarked(u.mark()) }

// killMarked ends all processes of a mark, those too that are started meanwhile.
func killMarked(mark string) {
	for range 100 {
		pids := marked(mark)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
		if len(pids) == 0 {
			return
		}
	}
}

// marked finds the processes that have the mark, or one that begins with it and a slash,
// in their environment.
func marked(mark string) []int {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", d.Name(), "environ"))
		if err != nil {
			continue // it has ended, or is somebody else's
		}
		for pair := range bytes.SplitSeq(env, []byte{0}) {
			value, ok := bytes.CutPrefix(pair, []byte(unitEnv+"="))
			if ok && (string(value) == mark || bytes.HasPrefix(value, []byte(mark+"/"))) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// environ is the lab's own without what would change what its programs do. The machine's
// syslog is not for them: they have logs of their own.
func environ() []string {
	env := []string{"KVEXPRESS_SYSLOG=off"}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CONSUL_") && !strings.HasPrefix(pair, "KVEXPRESS_") && !strings.HasPrefix(pair, unitEnv) {
			env = append(env, pair)
		}
	}
	return env
}
