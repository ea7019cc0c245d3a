package command

import (
	"syscall"
	"time"
)

// pollGroup is how often a group is polled for processes that are left: there is no event for that.
const pollGroup = 10 * time.Millisecond

// killer ends process groups.
type killer struct {
	kill      func(pid int, sig syscall.Signal) error
	reapDelay time.Duration
}

// end is how a program ended.
type end struct {
	err    error // of waiting for it; if not reaped, of killing it
	reaped bool  // false: it is still running
}

// stop sends SIGTERM to the group that pid leads, and SIGKILL if any process of it is left after grace. The leader is often
// only a shell: the rest of the group gets its grace too.
func (k killer) stop(pid int, grace time.Duration, exited <-chan error) (e end) {
	late, poll := time.After(grace), time.NewTicker(pollGroup)
	defer poll.Stop()
	_ = k.kill(-pid, syscall.SIGTERM) // SIGKILL tells if we are not allowed to
	for {
		select {
		case e.err = <-exited:
			e.reaped, exited = true, nil
		case <-poll.C:
			// The number of a group is not reused while it has a process.
			if e.reaped && k.kill(-pid, 0) != nil {
				return e
			}
		case <-late:
			failed := k.kill(-pid, syscall.SIGKILL)
			if e.reaped {
				return e // the others are not our children: we cannot wait for them
			}
			select {
			case e.err = <-exited:
				e.reaped = true
			case <-time.After(k.reapDelay):
				e.err = failed
			}
			return e
		}
	}
}
