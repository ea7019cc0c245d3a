//go:build linux

package play_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/lab/play"
)

// asLabEnv makes this test program the lab.
const asLabEnv = "KVEXPRESS_TEST_AS_LAB"

func TestMain(m *testing.M) {
	if os.Getenv(asLabEnv) == "1" {
		os.Exit(play.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	m.Run() // its result is the exit code when TestMain returns
}

// However it is ended, it ends what it began, and removes its folder.
func TestEnded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		at  string // what it says when it is ended
		how func(t *testing.T, p *os.Process, out io.Closer)
	}{
		"Ctrl-C at the start":   {"starting 2 nodes", sent(syscall.SIGINT)},
		"TERM during a change":  {"web-01", sent(syscall.SIGTERM)},
		"a terminal is closed":  {"registering", sent(syscall.SIGHUP)},
		"nobody reads any more": {"web-01", func(t *testing.T, _ *os.Process, out io.Closer) { t.Helper(); mustClose(t, out) }},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, out, folder := begin(t)
			lines := bufio.NewScanner(out)
			for lines.Scan() && !strings.Contains(lines.Text(), tt.at) {
			}
			if len(inFolder(t, folder)) == 0 {
				t.Errorf("nothing runs when it says %q", tt.at)
			}
			tt.how(t, cmd.Process, out)
			_, _ = io.Copy(io.Discard, out) // until it has ended
			err := cmd.Wait()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != 1 {
				t.Errorf("it ends with %v, want exit code 1", err)
			}
			if left := inFolder(t, folder); len(left) > 0 {
				t.Errorf("left are processes: %q", left)
			}
			if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}

// Killed, it can remove nothing; but all that runs ends with it, also what others started
// for it. Taken out: that consul-template ends with consul lock; then it is left.
func TestKilled(t *testing.T) {
	t.Parallel()
	cmd, out, folder := begin(t)
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(lines.Text(), "web-01"); {
	}
	renders := func(line string) bool {
		return strings.Contains(line, "consul-template -log-level") && !strings.Contains(line, " lock ")
	}
	if runs := inFolder(t, folder); !slices.ContainsFunc(runs, renders) {
		t.Errorf("nothing renders: %q", runs)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for len(inFolder(t, folder)) > 0 {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("left are processes: %q", inFolder(t, folder))
		}
	}
}

// With --keep the fleet runs for as long as somebody likes, and nobody looks at it any
// more: all that is seen is kept. Taken out: that the looks end; then they go on.
func TestKept(t *testing.T) {
	t.Parallel()
	cmd, out, folder := begin(t, "--keep", "--changes", "1")
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "The fleet runs until Ctrl-C") {
	}
	// The first thing to try is tried, as it is written there.
	var script strings.Builder
	for lines.Scan() && !strings.Contains(lines.Text(), "kvexpress history") {
		script.WriteString(lines.Text() + "\n")
	}
	told, err := exec.CommandContext(t.Context(), "sh", "-c", script.String()).CombinedOutput()
	if err != nil || !strings.Contains(string(told), "version 2") {
		t.Errorf("%s\n%s%v", script.String(), told, err)
	}
	if open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", cmd.Process.Pid)); err != nil || len(open) == 0 {
		t.Errorf("it has ended: %v", err)
	} else {
		for _, fd := range open {
			if to, err := os.Readlink(fd); err == nil && to == "anon_inode:inotify" {
				t.Error("it still looks at files")
			}
		}
	}
	sent(syscall.SIGINT)(t, cmd.Process, out)
	_, _ = io.Copy(io.Discard, out) // until it has ended
	_ = cmd.Wait()                  // it was interrupted
	if left := inFolder(t, folder); len(left) > 0 {
		t.Errorf("left are processes: %q", left)
	}
}

// A fleet that the machine has no room for is refused before anything of it is started.
// Taken out: that a lab asks for room; then it starts them.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// Open files are what a test can make rare.
	cmd := exec.CommandContext(ctx, "sh", "-c", `ulimit -n 250 && exec "$0" --nodes 9 --changes 1`, os.Args[0])
	cmd.Env = append(os.Environ(), asLabEnv+"=1", "TMPDIR="+t.TempDir())
	said, err := cmd.CombinedOutput()
	if want := ": 8 fit; raise the hard limit"; err == nil || !strings.Contains(string(said), want) || strings.Contains(string(said), "starting") {
		t.Errorf("it ends with %v and says %q, want %q", err, said, want)
	}
}

// begin runs the lab as a program of its own, with a folder for temporary ones, which has
// a blank in its name, and more arguments if there are any.
func begin(t *testing.T, args ...string) (*exec.Cmd, io.ReadCloser, string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "a'b c") // short: the agent's socket is below it
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"--nodes", "2", "--services", "40", "--changes", "200", "--slow", ""}, args...)...)
	cmd.Env = append(os.Environ(), asLabEnv+"=1", "TMPDIR="+folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out, folder
}

func sent(s syscall.Signal) func(*testing.T, *os.Process, io.Closer) {
	return func(t *testing.T, p *os.Process, _ io.Closer) {
		t.Helper()
		if err := p.Signal(s); err != nil {
			t.Error(err)
		}
	}
}

func mustClose(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// inFolder are the command lines of processes that name a folder.
func inFolder(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), dir) { // it may have ended
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}
