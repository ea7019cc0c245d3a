//go:build linux

package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"kvexpress/internal/fleet"
)

// start starts the agents, a few at a time, and comes back when all have their file, have
// run its exec, and have reported both targets.
func (s *site) start(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, s.Limit, fmt.Errorf("the agents did not all start within %v", s.Limit))
	defer cancel()
	var waiting []*node
	ready := func() error { // forgets those that have the file
		var still []*node
		for _, n := range waiting {
			if _, err := os.Stat(n.file(keyHosts)); errors.Is(err, fs.ErrNotExist) {
				still = append(still, n)
			} else if err != nil {
				return err
			}
		}
		waiting = still
		return nil
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "KVEXPRESS_SYSLOG=off"}
	for _, n := range s.nodes {
		if err := s.processes.run(n.name, n.log(), env, s.Program, "agent", "-C", filepath.Join(n.dir, "agent.yml")); err != nil {
			return err
		}
		waiting = append(waiting, n)
		if err := s.until(ctx, "start", func() error {
			if err := ready(); err != nil {
				return err
			}
			if len(waiting) >= atOnce {
				return fmt.Errorf("%d agents, such as %s, have no file yet", len(waiting), waiting[0].name)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	content := hosts(0)
	for _, n := range s.nodes {
		if err := s.until(ctx, "start", func() error {
			got, err := os.ReadFile(n.file(keyHosts))
			if err == nil && !bytes.Equal(got, content) {
				err = fmt.Errorf("%s has other bytes than were published", n.file(keyHosts))
			}
			if err == nil {
				_, err = os.Stat(n.trace(keyHosts))
			}
			return err
		}); err != nil {
			return err
		}
	}
	s.result.Started = fleet.Millis(time.Since(began))
	s.note("%d agents have their first file after %v", s.Nodes, time.Since(began).Round(time.Millisecond))
	if err := s.until(ctx, "report", func() error {
		roster, err := s.reader.Roster(ctx, 0, 0)
		if err != nil {
			return err
		}
		told := 0
		for _, n := range roster.Nodes {
			if n.Err == nil && len(n.Receipt.Targets) == 2 && targetOf(n.Receipt, keyAdHoc).State == "missing" && !targetOf(n.Receipt, keyHosts).Owed {
				told++
			}
		}
		if told < s.Nodes {
			return fmt.Errorf("%d of %d nodes have reported both targets", told, s.Nodes)
		}
		return nil
	}); err != nil {
		return err
	}
	s.result.Reported = fleet.Millis(time.Since(began))
	if err := s.pause(ctx, s.Settle); err != nil {
		return err
	}
	return s.result.measure(s.processes.list(), s.Servers)
}

// until tries again until it is done. The error is the last one, with what kept it.
func (s *site) until(ctx context.Context, what string, done func() error) error {
	limit := time.NewTimer(s.Limit)
	defer limit.Stop()
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		err := done()
		if err == nil {
			return nil
		}
		again := time.NewTimer(wait)
		var died error
		select {
		case <-again.C:
			continue
		case <-ctx.Done():
			died = context.Cause(ctx)
		case died = <-s.dead():
		case <-limit.C:
			died = fmt.Errorf("it took longer than %v", s.Limit)
		}
		again.Stop()
		return fmt.Errorf("%s: %w: %w", what, died, err)
	}
}

// dead tells of an agent that ended by itself; nil before there are any.
func (s *site) dead() <-chan error {
	if s.processes == nil {
		return nil
	}
	return s.processes.died
}

// pause waits, unless somebody dies.
func (s *site) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-s.dead():
		return err
	}
}

// ran is what a command came to.
type ran struct {
	out          []byte
	cpu          time.Duration
	began, ended time.Time
}

// kvexpress runs the program as the publisher.
func (s *site) kvexpress(ctx context.Context, args ...string) (ran, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Limit+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "KVEXPRESS_SYSLOG=off",
		"CONSUL_HTTP_ADDR=" + s.Servers[0].Addr, "CONSUL_HTTP_TOKEN=" + s.publisher,
	}
	// The kernel ends it with the thread that starts it, and so with us.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	err := cmd.Run()
	r := ran{out: out.Bytes(), began: began, ended: time.Now()}
	if err != nil {
		return r, fmt.Errorf("kvexpress %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return r, nil
}
