package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
)

// RunTime is the most that one command of a test may take.
const RunTime = 2 * time.Minute

// Machine is one machine of a fleet: a folder for its files, and the environment
// in which kvexpress runs there.
type Machine struct {
	T   testing.TB
	Dir string
	Env []string
}

// NewMachine makes a machine that uses the Consul at addr.
func NewMachine(t testing.TB, addr string, env ...string) *Machine {
	t.Helper()
	if Program.Err != nil {
		t.Fatal(Program.Err)
	}
	m := &Machine{T: t, Dir: t.TempDir()}
	m.Env = append(Quiet(m.Dir), "PATH="+os.Getenv("PATH"), "CONSUL_HTTP_ADDR="+addr)
	m.Env = append(m.Env, env...)
	return m
}

// Quiet is the environment that keeps a test from writing to this machine's syslog and
// Datadog agent.
func Quiet(dir string) []string {
	return []string{"HOME=" + dir, "KVEXPRESS_SYSLOG=off", "KVEXPRESS_DATADOG_CONF=" + filepath.Join(dir, "no-datadog.conf")}
}

// With is the same machine with more in its environment.
func (m *Machine) With(env ...string) *Machine {
	more := *m
	more.Env = append(slices.Clip(m.Env), env...)
	return &more
}

// Path is the path of a file of this machine.
func (m *Machine) Path(name string) string { return filepath.Join(m.Dir, name) }

// File writes a file of this machine and returns its path.
func (m *Machine) File(name, content string) string {
	m.T.Helper()
	if err := os.WriteFile(m.Path(name), []byte(content), 0o644); err != nil {
		m.T.Fatal(err)
	}
	return m.Path(name)
}

// Script writes an executable file and returns its path.
func (m *Machine) Script(name, text string) string {
	m.T.Helper()
	path := m.File(name, "#!/bin/sh\n"+text)
	if err := os.Chmod(path, 0o755); err != nil {
		m.T.Fatal(err)
	}
	return path
}

// Result is the result of a command.
type Result struct {
	Args           []string
	Code           int // -1: it was killed
	Stdout, Stderr string
}

// Run runs kvexpress. Its state folder is in this
// machine's folder.
func (m *Machine) Run(args ...string) Result {
	m.T.Helper()
	return m.Exec(Program.Path, args)
}

// Exec is Run with another program.
func (m *Machine) Exec(binary string, args []string) Result {
	m.T.Helper()
	if (args[0] == "out" || args[0] == "raw") && !slices.Contains(args, "--state-dir") {
		args = append(slices.Clip(args), "--state-dir", m.Path("state"))
	}
	ctx, cancel := context.WithTimeout(m.T.Context(), RunTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = m.Env, m.Dir, &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		m.T.Errorf("kvexpress %s: %v", strings.Join(args, " "), err)
	}
	return Result{Args: args, Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// Ok runs kvexpress, wants exit 0, and returns what it printed.
func (m *Machine) Ok(args ...string) string {
	m.T.Helper()
	return m.Want(0, args...).Stdout
}

// Fails runs kvexpress, wants this exit code and one line on stderr that contains
// each of the words, and returns the line.
func (m *Machine) Fails(code int, words []string, args ...string) string {
	m.T.Helper()
	r := m.Want(code, args...)
	ours, _, _ := strings.Cut(r.Stderr, "\n    ") // the other lines are the output of a command
	if strings.Count(strings.TrimSuffix(ours, "\n"), "\n") != 0 || !strings.HasSuffix(r.Stderr, "\n") {
		m.T.Errorf("kvexpress %s: stderr has to be one line:\n%s", strings.Join(args, " "), r.Stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.Stderr, word) {
			m.T.Errorf("kvexpress %s: stderr does not say %q: %s", strings.Join(args, " "), word, r.Stderr)
		}
	}
	return r.Stderr
}

// Want is Run, and wants an exit code.
func (m *Machine) Want(code int, args ...string) Result {
	m.T.Helper()
	r := m.Run(args...)
	if r.Code != code {
		m.T.Fatalf("kvexpress %s: exit %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// Read returns a file's content, "" where there is none.
func (m *Machine) Read(name string) string {
	m.T.Helper()
	b, err := os.ReadFile(m.Path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.T.Fatal(err)
	}
	return string(b)
}

// Holds fails the test unless the file has this content.
func (m *Machine) Holds(name, want string) {
	m.T.Helper()
	if got := m.Read(name); got != want {
		m.T.Errorf("%s holds %s, want %s", name, Brief(got), Brief(want))
	}
}

// Start returns a Consul and a machine that uses it.
func Start(t *testing.T, opts ...consultest.Option) (*Store, *Machine) {
	t.Helper()
	s := consultest.Start(t, opts...)
	return &Store{T: t, Server: s, Token: s.ManagementToken}, NewMachine(t, s.Addr)
}

// Publish publishes new content of the key hosts.
func (m *Machine) Publish(content string) string {
	m.T.Helper()
	m.Ok("in", "-k", "hosts", "-l", "1", "-f", m.File("source", content))
	return content
}

// Stat describes a file that must be there.
func Stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// Tree describes all that is below dir, but for one file.
func Tree(t *testing.T, dir, but string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) == but {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		size := info.Size()
		if info.IsDir() {
			size = 0
		}
		fmt.Fprintf(&b, "%s %v %d %v\n", path, info.Mode(), size, info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
