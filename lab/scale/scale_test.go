package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/lab/hosts"
)

// Every node has each version, whole, and has run its exec for it once; and `status`
// agrees with the files as seen from outside. A side that is shifted, or lacks a
// node, is found: the comparison can fail.
func TestScale(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs Consul")
	}
	t.Chdir("../..")
	for _, hubs := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d hubs", hubs), func(t *testing.T) { testScale(t, hubs) })
	}
}

func testScale(t *testing.T, hubs int) {
	nodes, changes, limit := 60, 1, time.Second // slow machines have little time; the controls are coarser
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		nodes, changes, limit = 1188, 5, tolerance
	}
	dir := t.TempDir()
	tools, err := hosts.GetTools(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	o := hosts.Options{Tools: tools, Dir: filepath.Join(dir, "fleet"), Agents: nodes, Hubs: hubs,
		Say: func(line string) { t.Log(line) }}
	f, err := hosts.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil || len(f.Set.Left()) > 0 {
			t.Errorf("%v, left: %v", err, f.Set.Left())
		}
	})
	if err := f.StartServers(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &site{Fleet: f, tolerance: limit, settle: 500 * time.Millisecond, published: map[string]int{}}
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range changes {
		v, err := s.change(t.Context(), i+1)
		if err != nil {
			t.Fatal(err)
		}
		distorted(t, v, limit)
	}
	v, err := s.adHoc(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	distorted(t, v, limit)

	// A node with other bytes than the published ones is found.
	n := s.nodes[0]
	good := lines(249)
	for _, wrong := range []string{good[:len(good)-1], good + "\n"} {
		if err := os.WriteFile(n.file(hosts.KeyAdHoc), []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := n.check(good, v, 1); err == nil || !strings.Contains(err.Error(), "not those that were published") {
			t.Errorf("%d bytes in the place of %d: %v", len(wrong), len(good), err)
		}
	}
}

// distorted wants to see found what may be wrong with either side, of a version in which
// nothing is.
func distorted(t *testing.T, v *version, tolerance time.Duration) {
	t.Helper()
	much := 2*tolerance + time.Second + time.Duration(v.told.OnNode.Slowest*float64(time.Millisecond))
	shift := func(by time.Duration) *version {
		w := *v
		w.seen = slices.Clone(v.seen)
		for i := range w.seen {
			w.seen[i] += by
		}
		return &w
	}
	last := shift(0)
	last.seen[len(last.seen)-1] += much
	unit := shift(0)
	unit.told.Delivered.P50 *= 1000
	fewer := shift(0)
	fewer.seen = fewer.seen[1:]
	out := shift(0)
	out.told.Delivered.Count /= 2
	for name, w := range map[string]*version{
		"seen later": shift(much), "seen sooner": shift(-much), "one node later": last,
		"another unit": unit, "a node is not seen": fewer, "status leaves many out": out,
	} {
		if w.compare(tolerance) == nil {
			t.Errorf("%s: not found", name)
		}
	}
	if err := shift(0).compare(tolerance); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
}

// An exec that did not run, or ran twice or for other bytes, is found.
func TestExecsThatAreWrong(t *testing.T) {
	n, sha := &node{name: "node-0001", dir: t.TempDir()}, strings.Repeat("ab", 32)
	v := &version{key: hosts.Key, told: status{Version: 1, SHA256: sha, Published: time.Now()}}
	for trace, right := range map[string]bool{
		"1 " + sha + "\n":                      true,
		"":                                     false,
		"1 " + sha + "\n1 " + sha + "\n":       false,
		"1 " + strings.Repeat("cd", 32) + "\n": false,
		"0 " + sha + "\n":                      false,
		"1 " + sha + "\n2 " + sha[:32] + "\n":  false,
	} {
		for path, text := range map[string]string{n.file(hosts.Key): "x", n.trace(hosts.Key): trace} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.check("x", v, 1); (err == nil) != right {
			t.Errorf("%q: %v", trace, err)
		}
	}
}
