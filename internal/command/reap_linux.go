package command

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// own are the processes that Run waits for.
var own = struct { //nolint:gochecknoglobals // a process has one set of children
	starting sync.RWMutex // read-locked during a start: the process can end before its id is in pids
	pids     sync.Map
	changed  chan struct{} // holds one: a start or a wait is over
}{changed: make(chan struct{}, 1)}

// start starts cmd. ReapOrphans does not wait for it before reaped is called.
func start(cmd *exec.Cmd) error {
	own.starting.RLock()
	defer orphansAgain()
	defer own.starting.RUnlock()
	err := cmd.Start()
	if err == nil {
		own.pids.Store(cmd.Process.Pid, nil)
	}
	return err
}

func reaped(cmd *exec.Cmd) {
	own.pids.Delete(cmd.Process.Pid)
	orphansAgain()
}

func orphansAgain() {
	select {
	case own.changed <- struct{}{}:
	default: // reap wakes already, or does not run
	}
}

// ReapOrphans waits for the orphans that PID 1 of a container gets as children, until ctx ends. In any other process it
// returns at once.
func ReapOrphans(ctx context.Context) {
	if os.Getpid() == 1 {
		reap(ctx)
	}
}

func reap(ctx context.Context) {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	defer signal.Stop(ends)
	for {
		for reapOrphan() {
		}
		select {
		case <-ctx.Done():
			return
		case <-ends:
		case <-own.changed:
		}
	}
}

// reapOrphan waits for one orphan that has ended. It is false if there is none, or if Run must wait for another process first.
func reapOrphan() bool {
	if !own.starting.TryLock() {
		return false
	}
	defer own.starting.Unlock()
	var info struct { // unix.Siginfo does not name the field pid
		_   [3]int32
		_   [0]uintptr
		pid int32
		_   [112]byte
	}
	const peek = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT
	at := (*unix.Siginfo)(unsafe.Pointer(&info)) //nolint:gosec // info is larger, and has its fields
	if err := unix.Waitid(unix.P_ALL, 0, at, peek, nil); err != nil || info.pid == 0 {
		return false
	}
	if _, ours := own.pids.Load(int(info.pid)); ours {
		return false
	}
	_, err := syscall.Wait4(int(info.pid), nil, syscall.WNOHANG, nil)
	return err == nil
}
