//go:build linux

package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// service is a unit that runs.
type service struct {
	argv, env []string
	dir, log  string
	runtime   string        // "": it has no RuntimeDirectory
	again     time.Duration // RestartSec; -1: it is not started again
	end       context.CancelFunc
	done      chan struct{}
	mu        sync.Mutex
	process   *os.Process
}

// start reads the unit and runs it, as far as the units of the page need it.
func (v *supervisor) start(name string) (*service, error) {
	text, err := os.ReadFile(v.h.m.Path("etc/systemd/system/" + name + ".service"))
	if err != nil {
		return nil, err
	}
	s := &service{env: slices.Clone(v.h.m.Env), dir: v.h.m.Dir, log: v.h.m.Path(name + ".log"), again: -1, done: make(chan struct{})}
	wait := time.Duration(0)
	own := strings.ReplaceAll(string(text), " /etc/", " "+v.h.m.Path("etc")+"/") // in a unit that was copied
	for line := range strings.Lines(own) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "Environment":
			s.env = append(s.env, value)
		case "ExecStart":
			s.argv = strings.Fields(value)
		case "Restart":
			if value == "always" {
				s.again = 0
			}
		case "RestartSec":
			if wait, err = time.ParseDuration(value); err != nil {
				return nil, err
			}
		case "RuntimeDirectory":
			if name != "kvexpress-agent" { // whose socket is elsewhere
				s.runtime = v.h.m.Path("run/" + value)
			}
		}
	}
	if len(s.argv) == 0 {
		return nil, fmt.Errorf("%s has no ExecStart", name)
	}
	if s.again == 0 {
		s.again = wait
	}
	ctx, cancel := context.WithCancel(v.ctx)
	s.end = cancel
	go s.supervise(ctx)
	return s, nil
}

func (s *service) stop() { s.end(); <-s.done }

// supervise runs the unit's program, again and again if it says so, until it is stopped.
func (s *service) supervise(ctx context.Context) {
	defer close(s.done)
	for {
		if err := s.once(ctx); err != nil {
			_ = os.WriteFile(s.log, []byte(err.Error()), 0o600) // it is missed by the test
		}
		if s.again < 0 {
			return
		}
		timer := time.NewTimer(s.again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// once runs the program until it ends, or ctx does: then it gets SIGTERM, as with
// KillMode=mixed. The rest of its process group is killed, and its folder removed.
func (s *service) once(ctx context.Context) error {
	if s.runtime != "" {
		if err := os.MkdirAll(s.runtime, 0o755); err != nil {
			return err
		}
		defer os.RemoveAll(s.runtime)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// env finds the program by the PATH of the machine.
	cmd := exec.CommandContext(ctx, "env", s.argv...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.env, s.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.mu.Lock()
	s.process = cmd.Process
	s.mu.Unlock()
	_ = cmd.Wait()                                      // how it ended is in its log
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group may be empty
	return nil
}
