package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// If the result cannot be printed, a command that only reports fails. A command that changed
// something has succeeded.
func TestResultsThatCannotBePrinted(t *testing.T) {
	dir := t.TempDir()
	content := filepath.Join(dir, "content")
	if err := os.WriteFile(content, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "agent.yml")
	if err := os.WriteFile(config, []byte("targets: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := served(t, App{})
	for _, tt := range []struct {
		line string
		want int
	}{
		{"in -k hosts -l 1 -f " + content, exitOK},
		{"in -k hosts -l 1 --json -f " + content, exitOK},
		{"out -k hosts -l 1 -f " + dir + "/out --state-dir " + dir + "/state", exitOK},
		{"stop -k hosts -r why", exitOK},
		{"resume -k hosts", exitOK},
		{"status", exitOther},
		{"status -k hosts", exitOther},
		{"status -k hosts --json", exitOther},
		{"history -k hosts", exitOther},
		{"show -k hosts", exitOther},
		{"show -k hosts --json", exitOther},
		{"diff -k hosts 1 1", exitOther},
		{"stops", exitOther},
		{"locks", exitOther},
		{"kv export", exitOther},
		{"hub --once", exitOther},
		{"acl hub", exitOther},
		{"version", exitOther},
		{"agent --check-config -C " + config, exitOther},
		{"status -k nosuch --json", exitMissing},
	} {
		var stderr strings.Builder
		app := App{Stdin: strings.NewReader(""), Stdout: full{}, Stderr: &stderr, Getenv: quietEnv}
		args := strings.Fields(tt.line)
		if args[0] != "agent" {
			args = append(args, "-s", addr)
		}
		code := app.Run(t.Context(), args)
		if code != tt.want || !strings.Contains(stderr.String(), "the disk is full") {
			t.Errorf("%s: exit %d, want %d: %s", tt.line, code, tt.want, stderr.String())
		}
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, fullError{} }

type fullError struct{}

func (fullError) Error() string { return "the disk is full" }

// served starts a store for the test and returns its address.
func served(t *testing.T, app App, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	app.Stdin, app.Stdout, app.Stderr, app.Getenv = strings.NewReader(""), w, io.Discard, quietEnv
	var wg sync.WaitGroup
	wg.Go(func() {
		app.Run(ctx, append([]string{"hub", "--dev", "--listen", "127.0.0.1:0"}, flags...))
		w.Close()
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	addr, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		t.Fatalf("hub says %q, %v", line, err)
	}
	return addr
}
