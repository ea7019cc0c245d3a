//go:build linux

package lab

import (
	"os/exec"
	"runtime"
	"syscall"
)

// spawner starts all processes from one thread, which lives until stop: the kernel
// ends them with it, so that nothing is left of a lab that was killed.
type spawner struct {
	requests chan spawn
	ended    chan struct{}
}

type spawn struct {
	cmd  *exec.Cmd
	done chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawn), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for r := range s.requests {
			r.done <- r.cmd.Start()
		}
	}()
	return s
}

// start runs a command in a group of its own: Ctrl-C is for the lab, which ends the
// others in order.
func (s *spawner) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r := spawn{cmd, make(chan error, 1)}
	s.requests <- r
	return <-r.done
}

// stop kills what still runs. Nothing may be started after it.
func (s *spawner) stop() {
	close(s.requests)
	<-s.ended
}
