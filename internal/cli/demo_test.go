package cli

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// endsOnce is a writer that ends a context as soon as a text was written.
type endsOnce struct {
	bytes.Buffer
	text string
	end  context.CancelFunc
}

func (w *endsOnce) Write(b []byte) (int, error) {
	n, err := w.Buffer.Write(b)
	if strings.Contains(w.String(), w.text) {
		w.end()
	}
	return n, err
}

// Whenever it is interrupted, nothing is left: no folder, and no goroutine.
func TestDemoInterrupted(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		keep       bool
		code       int
		said       string // on stderr
	}{
		{"at its beginning", "A fleet of 3 nodes", false, exitOther, "interrupted"},
		{"in a delivery", "2. Change one line", false, exitOther, "interrupted"},
		{"in a rollback", "$ kvexpress rollback", false, exitOther, "interrupted"},
		{"in a rollout", "$ kvexpress in -k hosts -f bad -l 100 -m 'nightly run'\n", false, exitOther, "interrupted"},
		{"when it was kept", "consul kv get", true, exitOK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &endsOnce{text: tt.text, end: cancel}
			var stderr bytes.Buffer
			args := []string{"demo", "--nodes", "3"}
			if tt.keep {
				args = append(args, "--keep")
			}
			app := App{Stdin: strings.NewReader(""), Stdout: out, Stderr: &stderr, Getenv: quietEnv}
			code := app.Run(ctx, args)
			if code != tt.code || !strings.Contains(stderr.String(), tt.said) || tt.said == "" && stderr.Len() > 0 {
				t.Errorf("it ends with %d: %s\n%s", code, stderr.String(), out.String())
			}
			if !strings.Contains(out.String(), tt.text) || strings.Contains(out.String(), "All checks passed") != tt.keep {
				t.Errorf("it was not interrupted where it should be:\n%s", out.String())
			}
			left, err := os.ReadDir(tmp)
			if err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
			// Connections end a moment after both of their ends were closed.
			for limit := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
				if time.Now().After(limit) {
					stacks := make([]byte, 1<<20)
					t.Fatalf("%d goroutines are left of %d:\n%s", runtime.NumGoroutine()-before, before, stacks[:runtime.Stack(stacks, true)])
				}
			}
		})
	}
}

// A closed standard output ends it too.
func TestDemoThatNobodyReads(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	var stderr bytes.Buffer
	app := App{Stdin: strings.NewReader(""), Stdout: w, Stderr: &stderr, Getenv: quietEnv}
	code := app.Run(t.Context(), []string{"demo", "--nodes", "2"})
	if code != exitOther || !strings.Contains(stderr.String(), "print the demo") {
		t.Errorf("it ends with %d: %s", code, stderr.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}
