package cli

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
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
			if !strings.Contains(out.String(), tt.text) || strings.Contains(out.String(), "All of it held") != tt.keep {
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

// A reader that goes away ends it too.
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
	if code != exitOther || !strings.Contains(stderr.String(), "shown") {
		t.Errorf("it ends with %d: %s", code, stderr.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestHistogram(t *testing.T) {
	all := []fleet.Delivery{{Node: "a", Took: 0}, {Node: "b", Took: 900 * time.Microsecond}}
	for range 80 {
		all = append(all, fleet.Delivery{Node: "c", Took: 20 * time.Millisecond}) // the end of a row is in it
	}
	all = append(all, fleet.Delivery{Node: "d", Took: 21 * time.Millisecond}, fleet.Delivery{Node: "slow", Took: 1600 * time.Millisecond})
	named := func(node string) string {
		if node == "slow" {
			return "slow, on purpose"
		}
		return ""
	}
	var plain, blocks bytes.Buffer
	(&page{to: &plain}).histogram(all, named)
	want := `       up to 1.0 ms  # 2
                ...
     15 ms to 20 ms  ######################################## 80
     20 ms to 30 ms  # 1
                ...
    1.50 s to 2.00 s  # 1  slow, on purpose
`
	if squeezed(plain.String()) != squeezed(want) {
		t.Errorf("drawn is\n%s", plain.String())
	}
	(&page{to: &blocks, blocks: true}).histogram(all, named)
	if squeezed(blocks.String()) != squeezed(strings.ReplaceAll(want, "#", "█")) {
		t.Errorf("drawn is\n%s", blocks.String())
	}
}

// squeezed is a text without the blanks before its lines.
func squeezed(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimLeft(line, " "))
	}
	return b.String()
}
