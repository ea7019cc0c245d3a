//go:build linux

package store

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// withConsul is the machine with the program consul on its PATH.
func withConsul(m *e2e.Machine) *e2e.Machine {
	m.T.Helper()
	return m.With("PATH=" + filepath.Dir(consultest.Binary(m.T)) + ":" + os.Getenv("PATH"))
}

// shell runs a command line, and returns its output and exit code.
func shell(m *e2e.Machine, line string) (said string, code int) {
	m.T.Helper()
	ctx, cancel := context.WithTimeout(m.T.Context(), e2e.RunTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Env, cmd.Dir = m.Env, m.Dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		m.T.Fatalf("%s: %v", line, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// consul runs a command of consul that has to succeed.
func consul(m *e2e.Machine, line string) string {
	m.T.Helper()
	said, code := shell(m, "consul "+line)
	if code != 0 {
		m.T.Fatalf("consul %s: exit %d: %s", line, code, said)
	}
	return said
}

// `consul kv` says on a hub, byte for byte, what it says on Consul, which is in
// testdata/consul_kv.txt. Indexes are N there, and [1] is the exit code.
func TestConsulKV(t *testing.T) {
	want, err := os.ReadFile("testdata/consul_kv.txt")
	if err != nil {
		t.Fatal(err)
	}
	index := regexp.MustCompile(`(?m)^((?:Create|Modify)Index +)[0-9]+$`)
	onBoth(t, func(t *testing.T, m *e2e.Machine) {
		m = withConsul(m)
		var got strings.Builder
		for line := range strings.Lines(string(want)) {
			command, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			said, code := shell(m, command)
			got.WriteString(line + index.ReplaceAllString(said, "${1}N"))
			if code != 0 {
				got.WriteString("[" + strconv.Itoa(code) + "]\n")
			}
		}
		if diff := udiff.Unified("testdata/consul_kv.txt", "what consul says", string(want), got.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// For a missing part of the API, the commands of consul print the hub's error.
func TestConsulCommandsThatServeLacks(t *testing.T) {
	t.Parallel()
	m := withConsul(e2e.NewMachine(t, serve(t).addr))
	m.File("snapshot", "no snapshot\n")
	for _, line := range []string{
		"members", "monitor", "leave", "reload", "join 127.0.0.1", "event -name=deploy", "rtt node", "keyring -list",
		"catalog services", "catalog nodes", "catalog datacenters", "services register -name=web", "maint",
		"acl token list", "config list -kind proxy-defaults", "intention list", "connect ca get-config", "peering list",
		"lock app true", "operator raft list-peers", "operator autopilot state", "snapshot save copy", "snapshot restore snapshot",
	} {
		t.Run(line, func(t *testing.T) {
			said, code := shell(m, "timeout 20 consul "+line)
			if code != 1 || !strings.Contains(said, "embedded store of kvexpress") || !strings.Contains(said, "/v1/") {
				t.Errorf("exit %d, and it does not say that and what the hub lacks:\n%s", code, said)
			}
		})
	}
}
