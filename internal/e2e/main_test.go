package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/cli"
	"kvexpress/internal/deliver"
	"kvexpress/internal/publish"
)

// program is the path of kvexpress, or why there is none.
var program struct {
	path string
	err  error
}

func TestMain(m *testing.M) {
	if step := os.Getenv(dieAtEnv); step != "" {
		dieAt(publish.Step(step))
		return
	}
	if step := os.Getenv(agentDieAtEnv); step != "" {
		agentDieAt(deliver.Step(step))
		return
	}
	if socket := os.Getenv(asConsulEnv); socket != "" {
		asConsul(socket, os.Args[1:])
		return
	}
	if socket := os.Getenv(toolEnv); socket != "" {
		asTool(socket, os.Args[1:])
		return
	}
	dir, err := os.MkdirTemp("", "kvexpress-e2e-")
	if err == nil {
		program.path = filepath.Join(dir, "kvexpress")
		err = build(program.path)
		defer os.RemoveAll(dir)
	}
	program.err = err
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

// dieAtEnv makes this test program a kvexpress that kills itself: before the
// named step of a publish it gets SIGKILL.
const dieAtEnv = "KVEXPRESS_E2E_DIE_AT"

func dieAt(step publish.Step) {
	app := cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	app.PublishHook = func(s publish.Step) error {
		if s != step {
			return nil
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {} // the signal is on its way
	}
	app.Run(context.Background(), os.Args[1:])
}

// agentDieAtEnv makes this test program a kvexpress that gets SIGKILL before the
// named step of an install, once the file that agentArmedEnv names exists.
const (
	agentDieAtEnv = "KVEXPRESS_E2E_AGENT_DIE_AT"
	agentArmedEnv = "KVEXPRESS_E2E_AGENT_ARMED"
)

func agentDieAt(step deliver.Step) {
	app := cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Interruptible: cli.Signals, Hangups: cli.Hangups}
	app.DeliverHook = func(s deliver.Step) error {
		if _, err := os.Stat(os.Getenv(agentArmedEnv)); s != step || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {} // the signal is on its way
	}
	app.Run(context.Background(), os.Args[1:])
}

// times is how often a loop runs: in full in the soak, else a tenth of it.
func times(full int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return full
	}
	return max(1, full/10)
}
