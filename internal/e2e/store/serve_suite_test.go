//go:build linux

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	"kvexpress/internal/e2e"
)

// suiteModule is where the version of Consul's Go client is pinned.
const suiteModule = "../../../tools/consul-api"

// suiteFiles are the files of Consul's Go client whose tests are for serve: all of
// them, so that a new version of the client cannot bring one that nobody looks at.
func suiteFiles() []string {
	return []string{"kv_test.go", "txn_test.go", "lock_test.go", "semaphore_test.go", "session_test.go", "status_test.go"}
}

// suiteRefused are the tests of the client that serve cannot pass, and why. They run
// too: each has to fail, and by what serve says then.
func suiteRefused() map[string]string {
	return map[string]string{
		"TestAPI_ClientTxn":            "it registers a node and its checks in the catalog",
		"TestAPI_ClientTxnWrite":       "its transaction writes a node, a service and a check",
		"TestAPI_SessionNodeChecks":    "it registers a node with a check in the catalog",
		"TestAPI_SessionServiceChecks": "it registers a service with a check in the catalog",
	}
}

// Consul's Go client passes its own tests on serve, by the names that it gives them.
func TestConsulClientSuite(t *testing.T) {
	t.Parallel()
	suite := buildSuite(t)
	refusals := suiteRefused()
	for name := range refusals {
		if !slices.Contains(suite.names, name) {
			t.Errorf("%s is listed as one that serve cannot pass, and there is no such test", name)
		}
	}
	fronts := newFronts(t)
	outcomes := suite.run(t, 16, fronts.dir, fronts.env...)
	for _, name := range suite.names {
		t.Run(name, func(t *testing.T) {
			got, why := outcomes[name], refusals[name]
			switch {
			case why == "" && got.result != "PASS":
				t.Errorf("%s on serve:\n%s", got, got.said)
			case why == "":
				t.Log(got)
			case got.result != "FAIL" || !strings.Contains(got.said, "kvexpress serve is"):
				t.Errorf("it is listed as one that fails because %s, and serve says so; but: %s\n%s", why, got, got.said)
			default:
				t.Logf("fails, as it has to: %s", why)
			}
		})
	}
	if n := fronts.served(); n < len(suite.names) {
		t.Errorf("%d tests started %d servers: some have run on something else", len(suite.names), n)
	}
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		t.Run("control", suite.onConsul)
	}
}

// onConsul is the control: a real Consul passes every one of them.
func (s clientSuite) onConsul(t *testing.T) {
	outcomes := s.run(t, 4, filepath.Dir(consultest.Binary(t)))
	for _, name := range s.names {
		if got := outcomes[name]; got.result != "PASS" {
			t.Errorf("%s: %s on Consul:\n%s", name, got, got.said)
		}
	}
}

// clientSuite is the tests of Consul's Go client.
type clientSuite struct {
	path  string
	names []string
}

func buildSuite(t *testing.T) clientSuite {
	t.Helper()
	s := clientSuite{path: filepath.Join(t.TempDir(), "suite")}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	ask := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env, cmd.Dir = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="), suiteModule
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return strings.TrimSpace(stdout.String())
	}
	const client = "github.com/hashicorp/consul/api"
	ask("test", "-c", "-o", s.path, client)
	dir := ask("list", "-f", "{{.Dir}}", client)
	for _, file := range suiteFiles() {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		before := len(s.names)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				s.names = append(s.names, fn.Name.Name)
			}
		}
		if len(s.names) == before {
			t.Fatalf("no tests in %s of Consul's Go client", file)
		}
	}
	return s
}

// outcome is how one test of the suite ended. It is empty for one that did not run.
type outcome struct {
	result string // PASS, FAIL or SKIP
	took   string
	said   string
}

func (o outcome) String() string {
	if o.result == "" {
		return "it did not run"
	}
	return fmt.Sprintf("%s after %s", o.result, o.took)
}

// run runs the tests, so many at once, with the program "consul" in that folder. They
// wait two seconds for each server, however fast it is.
func (s clientSuite) run(t *testing.T, atOnce int, consulDir string, env ...string) map[string]outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, s.path, "-test.v", "-test.parallel", strconv.Itoa(atOnce), "-test.timeout", "5m",
		"-test.run", "^("+strings.Join(s.names, "|")+")$")
	cmd.Env = append(e2e.Quiet(dir), "TMPDIR="+dir, "PATH="+consulDir+":"+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run the suite: %v\n%s", err, e2e.Tail(stderr.String(), 30))
	}
	outcomes := outcomesOf(stdout.String())
	if len(outcomes) == 0 {
		t.Fatalf("the suite says nothing: %v\n%s\n%s", err, e2e.Tail(stdout.String(), 30), e2e.Tail(stderr.String(), 30))
	}
	return outcomes
}

// outcomesOf reads what tests print with -v. What they say comes after their name, or
// after a line that says whose it is.
func outcomesOf(out string) map[string]outcome {
	turn := regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +(\S*)`)
	end := regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \((.*)\)$`)
	ofServer := regexp.MustCompile(`^ +(20[0-9]{2}-|server.go:)`) // its log and its configuration
	said, outcomes, whose := map[string]*strings.Builder{}, map[string]outcome{}, ""
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if m := turn.FindStringSubmatch(line); m != nil {
			whose, _, _ = strings.Cut(m[1], "/")
		} else if m := end.FindStringSubmatch(line); m != nil {
			outcomes[m[2]] = outcome{result: m[1], took: m[3]}
			whose = m[2]
		} else if whose != "" && !ofServer.MatchString(line) {
			if said[whose] == nil {
				said[whose] = &strings.Builder{}
			}
			said[whose].WriteString(line + "\n")
		}
	}
	for name, o := range outcomes {
		if b := said[name]; b != nil {
			o.said = e2e.Tail(b.String(), 60)
			outcomes[name] = o
		}
	}
	return outcomes
}
