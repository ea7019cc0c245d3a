package command

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func sh(script string) []string { return []string{"sh", "-c", script} }

func TestSuccess(t *testing.T) {
	tests := []struct {
		name string
		c    Command
		want string
	}{
		{"silence", Command{Argv: []string{"true"}}, ""},
		{"both outputs, in order", Command{Argv: sh("echo one; echo two >&2; echo three")}, "one\ntwo\nthree\n"},
		{"arguments are not interpreted", Command{Argv: []string{"echo", "$HOME", "*", "a  b", ";"}}, "$HOME * a  b ;\n"},
		{"standard input is empty", Command{Argv: []string{"cat"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Run(t.Context(), tt.c)
			if err != nil {
				t.Fatal(err)
			}
			if r.Output != tt.want || r.ExitCode != 0 || r.Signal != "" || r.Duration <= 0 {
				t.Errorf("got %+v, want the output %q", r, tt.want)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	tests := []struct {
		name, script string
		code         int
		signal, want string
	}{
		{"exit status", "echo fine; echo 'bad option at line 4' >&2; echo; exit 3", 3, "",
			`"sh -c echo fine; echo 'bad option at line 4' >&2; echo; exit 3".* 3: bad option at line 4$`},
		{"without output", "exit 1", 1, "", `"sh -c exit 1".* 1$`},
		{"crash", "echo so far; kill -SEGV $$", -1, "SIGSEGV", `"sh -c echo so far; kill -SEGV \$\$".* SIGSEGV: so far$`},
		{"a long command", "exit 2 # " + strings.Repeat("x", 80), 2, "",
			`"sh -c exit 2 # x{65}…".* 2$`},
		{"a command of two lines", "true\nexit 4", 4, "", `"sh -c true\\nexit 4".* 4$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Run(t.Context(), Command{Argv: sh(tt.script)})
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v, want an *Error", err)
			}
			if !regexp.MustCompile(tt.want).MatchString(e.Error()) {
				t.Errorf("got  %s\nwant %s", e, tt.want)
			}
			if r.ExitCode != tt.code || r.Signal != tt.signal || e.Argv0 != "sh" {
				t.Errorf("got %d %q %q", r.ExitCode, r.Signal, e.Argv0)
			}
			if _, ok := errors.AsType[*exec.ExitError](err); !ok {
				t.Error("the cause is lost")
			}
		})
	}
}

func TestErrorsShowWhatTheyAreToldTo(t *testing.T) {
	shown := []string{"check", "{file}"}
	_, err := Run(t.Context(), Command{Argv: sh("exit 1"), Shown: shown})
	if err == nil || !strings.Contains(err.Error(), `"check {file}"`) {
		t.Errorf("a failure: %v", err)
	}
	_, err = Run(t.Context(), Command{Argv: []string{"no-such-program-here"}, Shown: shown})
	if err == nil || !strings.Contains(err.Error(), `"check {file}"`) {
		t.Errorf("a start: %v", err)
	}
}

func TestNotStarted(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name  string
		ctx   context.Context
		c     Command
		want  string
		cause error
	}{
		{"not in PATH", t.Context(), Command{Argv: []string{"no-such-program-here"}},
			`"no-such-program-here"`, exec.ErrNotFound},
		{"no such file", t.Context(), Command{Argv: []string{missing}}, missing, fs.ErrNotExist},
		{"not executable", t.Context(), Command{Argv: []string{script}}, script, fs.ErrPermission},
		{"no words", t.Context(), Command{}, "no program", nil},
		{"an empty word", t.Context(), Command{Argv: []string{"", "x"}}, "no program", nil},
		{"already cancelled", over, Command{Argv: []string{"true"}},
			`"true"`, context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Run(tt.ctx, tt.c)
			if _, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, ErrNotStarted) {
				t.Fatalf("got %v, want an *Error that is ErrNotStarted", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			if tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("the cause %v is lost", tt.cause)
			}
			if r.ExitCode != -1 {
				t.Errorf("the exit code is %d", r.ExitCode)
			}
		})
	}
}

func TestFloodOfOutput(t *testing.T) {
	flood := 64 << 20
	if os.Getenv("KVEXPRESS_SOAK") != "" {
		flood = 1 << 30
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := Run(t.Context(), Command{Argv: sh("echo begin; head -c " + strconv.Itoa(flood) + " /dev/zero; echo; echo end")})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	total := len("begin\n") + flood + len("\nend\n")
	if !strings.HasPrefix(r.Output, "[") || !strings.HasSuffix(r.Output, "end\n") || !strings.Contains(r.Output, strconv.Itoa(total)) ||
		len(r.Output) > MaxOutput {
		t.Errorf("this is kept: %q", r.Output)
	}
	// All that was ever allocated, freed or not: more than any peak.
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 2<<20 {
		t.Errorf("%d KiB were allocated", spent>>10)
	}
}
