package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/lab/proc"
)

// asLabEnv makes this test program the lab.
const asLabEnv = "TEST_AS_LAB"

func TestMain(m *testing.M) {
	if os.Getenv(asLabEnv) == "1" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	if err := os.Chdir(".."); err != nil { // the top of the source tree
		panic(err)
	}
	m.Run() // its result is the exit code when TestMain returns
}

// A small run from its beginning to its end, and the lines that it prints.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs Consul")
	}
	t.Parallel()
	var said strings.Builder
	if code := run(t.Context(), []string{"--nodes", "4", "--changes", "6"}, &said, &said); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, part := range []string{
		"starting 3 Consul servers on 127.", "all 4 nodes know all 60 services; server-",
		"web-01 is taken out of the catalog: rendered after ",
		"node-04 is overloaded", "node-04 is well again", "none was wrong or went back, over 7 versions",
		"6 changes, ms", "ending all programs",
	} {
		if !strings.Contains(said.String(), part) {
			t.Errorf("it does not say %q", part)
		}
	}
	if t.Failed() {
		t.Log(said.String())
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--nodes 0", "--changes 0", "scale --nodes 0", "nonsense", "--mode agent"} {
		var said strings.Builder
		if code := run(t.Context(), strings.Fields(args), io.Discard, &said); code != 1 || said.Len() == 0 {
			t.Errorf("%s: exit code %d, it says %q", args, code, said.String())
		}
	}
}

// However the lab is ended, it ends its programs and removes its folder. A kill leaves only the
// folder: consul-template must end with consul lock, or a kill would leave it running.
func TestEnded(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs Consul")
	}
	t.Parallel()
	for name, c := range map[string]struct {
		args, at string // what it says when it is ended
		signal   syscall.Signal
	}{
		"Ctrl-C at the start":  {"", "starting 2 nodes", syscall.SIGINT},
		"TERM during a change": {"", "web-01", syscall.SIGTERM},
		"its reader has ended": {"", "web-01", syscall.SIGPIPE},
		"killed":               {"", "web-01", syscall.SIGKILL},
		"scale, killed":        {"scale", "version 2", syscall.SIGKILL},
		"its terminal closes":  {"", "web-01", syscall.SIGHUP},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "a'b c") // short: the agent's socket is below it
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], append(strings.Fields(c.args), "--nodes", "2", "--changes", "200")...)
			cmd.Env = append(os.Environ(), asLabEnv+"=1", "TMPDIR="+folder)
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() && !strings.Contains(lines.Text(), c.at) {
			}
			if len(inFolder(t, folder)) == 0 {
				t.Errorf("nothing runs when it says %q", c.at)
			}
			if c.signal == syscall.SIGPIPE {
				_ = out.Close()
			} else if err := cmd.Process.Signal(c.signal); err != nil {
				t.Error(err)
			}
			_, _ = io.Copy(io.Discard, out) // until it has ended
			if err := cmd.Wait(); err == nil || c.signal != syscall.SIGKILL && cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("it ends with %v, want exit code 1", err)
			}
			if err := proc.Poll(ctx, "the end of all", func() error {
				if left := inFolder(t, folder); len(left) > 0 {
					return fmt.Errorf("left are %q", left)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(folder); err != nil || len(left) > 0 && c.signal != syscall.SIGKILL {
				t.Errorf("left are %v, %v", left, err)
			}
		})
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
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // it has just ended
		}
		if strings.Contains(string(b), dir) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}
