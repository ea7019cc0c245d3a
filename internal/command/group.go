package command

import (
	"syscall"
	"time"
)

// pollGroup is how often we look whether anyone of a group is left: there is
// no event for that.
const pollGroup = 10 * time.Millisecond

// killer ends process groups.
type killer struct {
	kill      func(pid int, sig syscall.Signal) error
	reapDelay time.Duration
}

// end is how a program ended.
type end struct {
	err    error // of waiting for it; if not reaped, of killing it
	reaped bool  // false: it is still there
}

// stop sends SIGTERM to the group that pid leads and waits until none of it is
// left, but no longer than grace; then it sends SIGKILL. The leader is often
// only a shell, so its end is not the group's: the rest gets its grace too.
func (k killer) stop(pid int, grace time.Duration, exited <-chan error) end {
	var e end
	late := time.NewTimer(grace)
	defer late.Stop()
	poll := time.NewTicker(pollGroup)
	defer poll.Stop()

	_ = k.kill(-pid, syscall.SIGTERM) // SIGKILL will tell if we may not
	for {
		select {
		case e.err = <-exited:
			e.reaped = true
			exited = nil
		case <-poll.C:
			// While anyone is in the group its number is not given to another.
			if e.reaped && k.kill(-pid, 0) != nil {
				return e
			}
		case <-late.C:
			return k.finish(pid, e, exited)
		}
	}
}

// finish sends SIGKILL, and waits for the leader unless it has ended before.
func (k killer) finish(pid int, e end, exited <-chan error) end {
	err := k.kill(-pid, syscall.SIGKILL)
	if e.reaped {
		return e // of the others we could not even learn their end
	}
	select {
	case e.err = <-exited:
		return end{err: e.err, reaped: true}
	case <-time.After(k.reapDelay):
		return end{err: err}
	}
}
