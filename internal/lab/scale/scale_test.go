//go:build linux

package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// cluster is three servers, and program a kvexpress.
func cluster(t *testing.T) (servers []Server, token, program string) {
	t.Helper()
	for _, s := range consultest.Cluster(t, 3, 0, consultest.WithACL()) {
		servers, token = append(servers, Server{Addr: s.Addr, PID: s.PID()}), s.ManagementToken
	}
	program = filepath.Join(t.TempDir(), "kvexpress")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "kvexpress/cmd/kvexpress")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build kvexpress: %v\n%s", err, out)
	}
	return servers, token, program
}

// TestScale: every node has each version, whole, and has run its exec for it once; and what
// `status` tells of it agrees with what was seen from outside. A side that is shifted, or
// lacks a node, is found: it is not that anything agrees.
func TestScale(t *testing.T) {
	servers, token, program := cluster(t)
	o := Options{
		Servers: servers, Token: token, Program: program, Dir: t.TempDir(), Nodes: size(fullSize), Changes: size(changes),
		Tolerance: 2 * time.Second, // CI's machines are slow; the controls below are coarser
		Note:      func(text string) { t.Log(text) },
	}
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		o.Tolerance = 0
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
	for _, p := range r.Problems() {
		t.Error(p)
	}
	_, err = json.Marshal(r)
	if err != nil {
		t.Error(err)
	}
	_ = fmt.Sprint
	_ = strconv.Itoa
}
