package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// runTime is the most that one command of a test may take.
const runTime = 2 * time.Minute

// machine is one machine of a fleet: a folder for its files, and the environment
// in which kvexpress runs there.
type machine struct {
	t   testing.TB
	dir string
	env []string
}

// newMachine makes a machine that talks to the Consul at addr.
func newMachine(t testing.TB, addr string, env ...string) *machine {
	t.Helper()
	if program.err != nil {
		t.Fatal(program.err)
	}
	m := &machine{t: t, dir: t.TempDir()}
	m.env = append(quiet(m.dir), "PATH="+os.Getenv("PATH"), "CONSUL_HTTP_ADDR="+addr)
	m.env = append(m.env, env...)
	return m
}

// quiet is the environment that keeps a test from telling the machine it runs on
// what it does.
func quiet(dir string) []string {
	return []string{"HOME=" + dir, "KVEXPRESS_SYSLOG=off", "KVEXPRESS_DATADOG_CONF=" + filepath.Join(dir, "no-datadog.conf")}
}

// with is the same machine with more in its environment.
func (m *machine) with(env ...string) *machine {
	more := *m
	more.env = append(slices.Clip(m.env), env...)
	return &more
}

// consulAddr is the store that the machine talks to.
func (m *machine) consulAddr() string {
	for _, pair := range slices.Backward(m.env) {
		if addr, ok := strings.CutPrefix(pair, "CONSUL_HTTP_ADDR="); ok {
			return addr
		}
	}
	return ""
}

// path is that of a file of this machine.
func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

// file writes a file of this machine and returns its path.
func (m *machine) file(name, content string) string {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

// script writes an executable file and returns its path.
func (m *machine) script(name, text string) string {
	m.t.Helper()
	path := m.file(name, "#!/bin/sh\n"+text)
	if err := os.Chmod(path, 0o755); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// result is how a command ended.
type result struct {
	args           []string
	code           int // -1: it was killed
	stdout, stderr string
}

// run runs kvexpress. A command that remembers what it installed does so in this
// machine's folder.
func (m *machine) run(args ...string) result {
	m.t.Helper()
	return m.exec(program.path, args)
}

func (m *machine) exec(binary string, args []string) result {
	m.t.Helper()
	if args[0] == "out" || args[0] == "raw" {
		args = append(slices.Clip(args), "--state-dir", m.path("state"))
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), runTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = m.env, m.dir, &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		m.t.Errorf("kvexpress %s: %v", strings.Join(args, " "), err)
	}
	return result{args: args, code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// ok runs kvexpress, wants exit 0, and returns what it printed.
func (m *machine) ok(args ...string) string {
	m.t.Helper()
	return m.want(0, args...).stdout
}

// fails runs kvexpress, wants this exit code and one line on stderr that contains
// each of the words, and returns the line.
func (m *machine) fails(code int, words []string, args ...string) string {
	m.t.Helper()
	r := m.want(code, args...)
	if strings.Count(r.stderr, "\n") != 1 || !strings.HasSuffix(r.stderr, "\n") {
		m.t.Errorf("kvexpress %s: stderr has to be one line:\n%s", strings.Join(args, " "), r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			m.t.Errorf("kvexpress %s: stderr does not say %q: %s", strings.Join(args, " "), word, r.stderr)
		}
	}
	return r.stderr
}

func (m *machine) want(code int, args ...string) result {
	m.t.Helper()
	r := m.run(args...)
	if r.code != code {
		m.t.Fatalf("kvexpress %s: exit %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r
}

// read returns a file's content, "" where there is none.
func (m *machine) read(name string) string {
	m.t.Helper()
	b, err := os.ReadFile(m.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return string(b)
}

// holds fails the test unless the file has this content.
func (m *machine) holds(name, want string) {
	m.t.Helper()
	if got := m.read(name); got != want {
		m.t.Errorf("%s holds %s, want %s", name, brief(got), brief(want))
	}
}

// start is a Consul and a machine that talks to it.
func start(t *testing.T, opts ...consultest.Option) (*store, *machine) {
	t.Helper()
	s := consultest.Start(t, opts...)
	return &store{t: t, server: s, token: s.ManagementToken}, newMachine(t, s.Addr)
}
