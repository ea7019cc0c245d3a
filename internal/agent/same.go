package agent

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/config"
)

// sameTarget tells whether a target of configuration c is what runs already. Where
// it stands in the files does not matter.
func sameTarget(running *target, c config.Config) func(config.Target) bool {
	shared := sharedExecs(c.Targets)
	return func(t config.Target) bool {
		t.At = running.At
		t.DeferExec = deferred(t, shared)
		return reflect.DeepEqual(t, running.Target)
	}
}

// snapshot is the target's status, of which nothing changes any more.
func (t *target) snapshot() TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Polled = t.beyond.Load()
	s.Counts.Refusals = maps.Clone(s.Counts.Refusals)
	s.Counts.ExecSeconds = append([]uint64(nil), s.Counts.ExecSeconds...)
	if s.Exec != nil {
		e := *s.Exec
		s.Exec = &e
		if next := t.group.nextRun(); e.Pending && next.After(time.Now()) && (e.Retry == nil || e.Retry.Before(next)) {
			e.Retry = &next
		}
	}
	return s
}

// lockState makes sure that one agent alone works with a state folder. The lock ends
// with the process, however it ends.
func lockState(dir string) (io.Closer, error) {
	d, err := atomicfile.OpenPrivate(dir, true)
	if err != nil {
		return nil, fmt.Errorf("the state folder: %w; make it usable, or choose another with state_dir", err)
	}
	f, err := d.OpenFile("agent.lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, fmt.Errorf("lock the state folder %s: agent.lock: %w; make it usable, or choose another with state_dir", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil,
			errors.Join(fmt.Errorf("the state folder %s is in use: another agent runs on it; end that one, or choose another with "+
				"state_dir", dir), f.Close())
	}
	return f, nil
}
