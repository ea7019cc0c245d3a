//go:build linux

// Package compat runs this kvexpress and the last release in one fleet: what one of them writes, sends or leaves on a disk,
// the other one understands.
package compat

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/test/e2e"
)

// lastRelease is the tag of the last release. There is none yet: so it is a commit with the first protocol of hubs.
const lastRelease = "f6b29fc"

func TestMain(m *testing.M) { e2e.Main(m) }

// last is the program of the last release.
var last = sync.OnceValues(func() (string, error) { return build(lastRelease) })

// build makes the program of a commit from this clone's history, once for all clones.
func build(commit string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	run := func(command string, args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "sh", append([]string{"-c", "cd ../../.. && " + command, "sh"}, args...)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	id, err := run("git rev-parse --verify --quiet $1^{commit}", commit)
	if err != nil {
		return "", fmt.Errorf("this clone lacks %s, the last release; `git fetch --unshallow --tags` gets it: %w", commit, err)
	}
	toolchain, err := run("go env GOVERSION")
	if err != nil {
		return "", err
	}
	kept := os.Getenv("KVEXPRESS_TOOLS")
	if kept == "" {
		if kept, err = os.UserCacheDir(); err != nil {
			return "", err
		}
		kept = filepath.Join(kept, "kvexpress-tools")
	}
	program := filepath.Join(kept, "kvexpress-"+id[:12]+"-"+toolchain)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(kept, "build.")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	_, err = run(`git archive --output "$2/tar" $1 && mkdir "$2/src" && tar -xf "$2/tar" -C "$2/src" && cd "$2/src" &&
		CGO_ENABLED=0 GOFLAGS= go build -trimpath -buildvcs=false -o ../kvexpress ./cmd/kvexpress`, id, dir)
	if err != nil {
		return "", err
	}
	return program, os.Rename(filepath.Join(dir, "kvexpress"), program)
}

// kvexpress are both programs, by what the tests call them.
func kvexpress(t *testing.T) map[string]string {
	t.Helper()
	if _, err := os.Stat("../../../.git"); err != nil {
		t.Skip("the last release is built from the history of git, and this is no clone")
	}
	program, err := last()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"last": program, "this": e2e.Program.Path}
}

// machine is a machine on which both programs run.
type machine struct {
	*e2e.Machine
	programs map[string]string
}

func start(t *testing.T) machine {
	t.Helper()
	_, m := e2e.Start(t)
	return machine{m, kvexpress(t)}
}

// run runs one of the programs, wants an exit code, and returns what it printed.
func (m machine) run(which string, code int, args ...string) string {
	m.T.Helper()
	r := m.Exec(m.programs[which], args)
	if r.Code != code {
		m.T.Fatalf("%s %s: exit %d, want %d\n%s%s", which, strings.Join(args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// publish publishes content with one of the programs, and returns it.
func (m machine) publish(which, content string, more ...string) string {
	m.T.Helper()
	m.run(which, 0, append([]string{"in", "-k", "hosts", "-l", "1", "-f", m.File("source", content)}, more...)...)
	return content
}

// says wants words in what one of the programs prints.
func (m machine) says(which, words string, args ...string) {
	m.T.Helper()
	if got := m.run(which, 0, args...); !strings.Contains(got, words) {
		m.T.Errorf("%s %s does not say %q:\n%s", which, strings.Join(args, " "), words, got)
	}
}

// eachWay runs a test with the roles in both ways.
func eachWay(t *testing.T, run func(t *testing.T, one, other string)) {
	t.Helper()
	for _, pair := range [][2]string{{"last", "this"}, {"this", "last"}} {
		t.Run(pair[0]+" and "+pair[1], func(t *testing.T) {
			t.Parallel()
			run(t, pair[0], pair[1])
		})
	}
}
