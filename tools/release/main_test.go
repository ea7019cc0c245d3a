package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The packages of two versions, and the folder that generate filled.
var packed struct {
	dir, generated string
	err            error
}

const oldVersion, newVersion = "1.9.9", "2.0.0"

// The date of all test packages. It is not of today, so that a clock that is read shows up.
var packedAt = time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() { // they build, pack and install for a minute, which is too long for make check
		return
	}
	if packed.dir, packed.err = os.MkdirTemp("", "kvexpress-release-"); packed.err == nil {
		defer os.RemoveAll(packed.dir)
		packed.err = packAll()
	}
	m.Run() // its result is the exit code when TestMain returns
}

// packAll builds both versions of kvexpress, and packs them.
func packAll() error {
	packed.generated = filepath.Join(packed.dir, "generated")
	if err := os.Mkdir(packed.generated, 0o700); err != nil {
		return err
	}
	for _, version := range []string{oldVersion, newVersion} {
		if err := buildProgram(packedProgram(version), version); err != nil {
			return err
		}
	}
	if err := generate(program(packedProgram(newVersion)), "../..", packed.generated, newVersion, packedAt); err != nil {
		return err
	}
	for _, version := range []string{oldVersion, newVersion} {
		for _, format := range []string{"deb", "rpm"} {
			if _, err := writePackage(packed.dir, format, runtime.GOARCH, version, packedAt, packedFiles(version)); err != nil {
				return err
			}
		}
	}
	return nil
}

func buildProgram(path, version string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-C", "../..", "-trimpath", "-buildvcs=false", "-o", path,
		"-ldflags", "-s -w -X kvexpress/internal/cli.buildVersion="+version, "./cmd/kvexpress")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build kvexpress: %w\n%s", err, out)
	}
	return nil
}

func packedProgram(version string) string { return filepath.Join(packed.dir, "kvexpress-"+version) }

func packedFiles(version string) files {
	return files{root: "../..", generated: packed.generated, program: packedProgram(version)}
}

// packedFile is the path of a package. The pattern is of its name.
func packedFile(t *testing.T, pattern string) string {
	t.Helper()
	if packed.err != nil {
		t.Fatal(packed.err)
	}
	found, err := filepath.Glob(filepath.Join(packed.dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s is %q, %v", pattern, found, err)
	}
	return found[0]
}

// run runs a program of this machine, which must succeed, and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return runCmd(t, exec.CommandContext(t.Context(), need(t, name), args...))
}

func runCmd(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s%s", cmd.Args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// need is the path of a program that scripts/test-packages installs.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		if _, err := os.Stat("/usr/sbin/" + name); err == nil {
			return "/usr/sbin/" + name
		}
		if os.Getenv("CI") == "" {
			t.Skip("there is no " + name + "; make test-packages installs it")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
