package proc

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Leftover processes of a unit end with it, a program that ends by itself starts again, and
// a closed Set leaves nothing.
func TestUnitsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := NewSet(dir)
	unit := func(name, script string) *Unit {
		return s.Add(&Unit{Name: name, Log: filepath.Join(dir, name), Argv: []string{"sh", "-c", script}})
	}
	u, stubborn := unit("parent", "setsid sleep 1000 & exec sleep 1000"), unit("stubborn", "trap '' TERM; while :; do sleep 1; done")
	u.Restart, stubborn.Last = true, true
	if err := errors.Join(u.Start(), stubborn.Start()); err != nil {
		t.Fatal(err)
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		if err := Poll(t.Context(), what, func() error {
			if !done() {
				return errors.New("not yet")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	wait("both to run", func() bool { return len(u.PIDs()) == 2 })
	was := u.PIDs()
	u.Signal(9)
	wait("a restart, and the end of the rest", func() bool {
		now := u.PIDs() // once: the processes change between two calls
		return u.PID() != 0 && len(now) == 2 && !slices.Contains(now, was[0]) && !slices.Contains(now, was[1])
	})
	// One that is killed and started at once is not taken for what it had left behind. Start
	// waits for the end of those.
	u.Restart = false
	u.Signal(9)
	wait("the end", func() bool { return u.PID() == 0 })
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	Sleep(t.Context(), 300*time.Millisecond)
	if err := u.Alive(); err != nil || len(u.PIDs()) != 2 {
		t.Errorf("started at once: %v, %v", u.PIDs(), err)
	}
	if err := errors.Join(u.Stop(), u.Stop()); err != nil || len(u.PIDs()) > 0 || u.Alive() == nil {
		t.Errorf("after Stop: %v, %v, %v", err, u.PIDs(), u.Alive())
	}
	if err := s.Close(); err != nil || len(s.Left()) > 0 {
		t.Errorf("after Close: %v, %v", err, s.Left())
	}
}

// Waiting for a program that has ended is an error with its last output. The output of
// programs stays in the lab, too.
func TestAProgramThatEndsIsNotWaitedFor(t *testing.T) {
	t.Setenv("KVEXPRESS_SYSLOG", "/dev/log")
	dir := t.TempDir()
	s := NewSet(dir)
	argv := []string{"sh", "-c", "echo syslog is $KVEXPRESS_SYSLOG; exit 1"}
	u := s.Add(&Unit{Name: "short", Log: filepath.Join(dir, "log"), Argv: argv})
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	<-u.ended
	err := Poll(t.Context(), "a server", u.Alive)
	if !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "syslog is off") || strings.Contains(err.Error(), "in vain") {
		t.Errorf("it says %v", err)
	}
	if _, err := s.Run(t.Context(), nil, "sh", "-c", "echo oh >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "3: oh") {
		t.Errorf("a command that fails: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	if err := Room(1, 1); err != nil {
		t.Error(err)
	}
	if err := Room(math.MaxInt64/2, 1); err == nil || !strings.Contains(err.Error(), "ask for fewer nodes") {
		t.Errorf("too many: %v", err)
	}
}
