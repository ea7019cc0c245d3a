package command

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// running is read-locked by each Run, whose child nothing else may wait for. idle holds one: a Run is over.
var (
	running sync.RWMutex             //nolint:gochecknoglobals // a process has one set of children
	idle    = make(chan struct{}, 1) //nolint:gochecknoglobals // as above
)

func isOver() {
	running.RUnlock()
	select {
	case idle <- struct{}{}:
	default: // reap wakes already, or does not run
	}
}

// ReapOrphans waits for the orphans that PID 1 of a container gets as children, until ctx ends: whenever no command runs. In any
// other process it returns at once.
func ReapOrphans(ctx context.Context) {
	if os.Getpid() == 1 {
		reap(ctx)
	}
}

func reap(ctx context.Context) {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGCHLD)
	defer signal.Stop(ends)
	for ctx.Err() == nil {
		if running.TryLock() {
			for pid := 1; pid > 0; {
				pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil) // fails if there is no child
			}
			running.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-ends:
		case <-idle:
		}
	}
}
