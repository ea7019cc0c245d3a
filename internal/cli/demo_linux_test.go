package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Interrupted while a command of a node runs, which goes on for longer than that: the
// command is ended too.
func TestDemoInterruptedInACheck(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ran bool
	var watch sync.WaitGroup
	watch.Go(func() {
		defer cancel()
		for tick := time.NewTicker(5 * time.Millisecond); !ran && ctx.Err() == nil; <-tick.C {
			slowed, err := filepath.Glob(tmp + "/*/*/overloaded")
			ran = err == nil && len(slowed) > 0 &&
				slices.ContainsFunc(workingIn(t, tmp), func(cmd string) bool { return strings.Contains(cmd, " check ") })
		}
	})
	var stdout, stderr bytes.Buffer
	app := App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: quietEnv}
	code := app.Run(ctx, []string{"demo", "--nodes", "3"})
	left, err := os.ReadDir(tmp)
	cmds := workingIn(t, tmp)
	cancel()
	watch.Wait()
	if !ran || code != exitOther || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("it ends with %d, and a check ran: %t; %s\n%s", code, ran, stderr.String(), stdout.String())
	}
	if err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if len(cmds) > 0 {
		t.Errorf("processes are left: %q", cmds)
	}
}

// workingIn are the command lines of processes that name a folder.
func workingIn(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(dir)) { // it may have ended
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}
