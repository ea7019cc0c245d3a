package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Program is the path of kvexpress, or why there is none.
var Program struct {
	Path string
	Err  error
}

// Main builds the program and runs the tests of a package. They wait for most of their
// time, so more of them run at once than there are processors.
func Main(m *testing.M) {
	_ = flag.Set("test.parallel", fmt.Sprint(3*runtime.GOMAXPROCS(0))) // a command line comes later, and wins
	dir, err := os.MkdirTemp("", "kvexpress-e2e-")
	if err == nil {
		Program.Path = filepath.Join(dir, "kvexpress")
		err = build(Program.Path)
		defer os.RemoveAll(dir)
	}
	Program.Err = err
	m.Run() // its result is the exit code when TestMain returns
}

// build makes the program as a release does, but for its version.
func build(output string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", output, "kvexpress/cmd/kvexpress")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build kvexpress: %w\n%s", err, out)
	}
	return nil
}

// Times is how often a loop runs: in full in the soak, else a tenth of it.
func Times(full int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return full
	}
	return max(1, full/10)
}

// Hostname is the name of this machine.
func Hostname(t testing.TB) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// FindConsulTemplate prefers the one that make built.
func FindConsulTemplate(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	built := filepath.Join(filepath.Dir(here), "../../.build/bin/consul-template")
	if _, err := os.Stat(built); err == nil {
		return built
	}
	path, err := exec.LookPath("consul-template")
	if err != nil {
		t.Fatalf("%v: \"make tools\" builds it", err)
	}
	return path
}
