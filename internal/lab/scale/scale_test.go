//go:build linux

package scale

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// fullSize is the fleet of the story, and changes how many versions of it are measured.
const (
	fullSize = 1188
	changes  = 5
)

// size is that of the soak, or a tenth of it.
func size(full int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return full
	}
	return max(2, full/10+full%10/5)
}

// cluster is three servers.
func cluster(t *testing.T) (servers []Server, token string) {
	t.Helper()
	// Consul's own default: consultest's shorter time-outs make a leader that waits for a
	// processor among a thousand agents lose its office.
	patient := consultest.WithConfig(map[string]any{"performance": map[string]any{"raft_multiplier": 5}})
	for _, s := range consultest.Cluster(t, 3, 0, consultest.WithACL(), patient) {
		servers, token = append(servers, Server{Addr: s.Addr, PID: s.PID()}), s.ManagementToken
	}
	return servers, token
}

// build makes a kvexpress as it is released.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "kvexpress")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "kvexpress/cmd/kvexpress")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build kvexpress: %v\n%s", err, out)
	}
	return program
}

// TestScale: every node has each version, whole, and has run its exec for it once; and what
// `status` tells of it agrees with what was seen from outside. A side that is shifted, or
// lacks a node, is found: it is not that anything agrees.
func TestScale(t *testing.T) {
	servers, token := cluster(t)
	o := Options{
		Servers: servers, Token: token, Program: build(t), Dir: t.TempDir(), Nodes: size(fullSize), Changes: size(changes),
		Tolerance: time.Second, Settle: 500 * time.Millisecond, // for slow machines that have little time; the controls are coarser
		Note: func(text string) { t.Log(text) },
	}
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		o.Tolerance, o.Settle = 0, 0
	}
	r, err := Run(t.Context(), o)
	var table strings.Builder
	if err := r.Print(&table); err != nil {
		t.Error(err)
	}
	t.Log("\n" + table.String())
	if err != nil {
		t.Fatal(err)
	}
	all := r.Problems()
	for _, p := range all[:min(len(all), 20)] {
		t.Error(p)
	}
	if len(all) > 20 {
		t.Errorf("and %d more", len(all)-20)
	}
	if len(r.Hosts) != o.Changes || r.AdHoc == nil {
		t.Fatalf("%d of %d changes, ad hoc %v", len(r.Hosts), o.Changes, r.AdHoc != nil)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		return
	}
	for _, c := range append(r.Hosts, *r.AdHoc) {
		distorted(t, c.Status, c.Told, c.Seen, o.Tolerance)
	}
}

// A run that is called off ends what it has started.
func TestRunIsCalledOff(t *testing.T) {
	s := consultest.Start(t, consultest.WithACL())
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	called, dir := errors.New("called off"), t.TempDir()
	running := 0
	_, err := Run(ctx, Options{
		Servers: []Server{{Addr: s.Addr, PID: s.PID()}}, Token: s.ManagementToken, Program: build(t), Dir: dir, Nodes: 5, Changes: 1,
		Note: func(text string) {
			if strings.Contains(text, "first file") {
				running = len(agentsIn(t, dir))
				cancel(called)
			}
		},
	})
	if !errors.Is(err, called) || running != 5 {
		t.Errorf("%d agents were running: %v", running, err)
	}
	if left := agentsIn(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// agentsIn are the processes whose arguments speak of a folder.
func agentsIn(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range all {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), dir) {
			found = append(found, path)
		}
	}
	return found
}
