package agentfile

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// many is a file of n full targets.
func many(n int) string {
	head, target, _ := strings.Cut(example, "  - key:")
	var b strings.Builder
	b.WriteString(head)
	for i := range n {
		b.WriteString("  - key:" + strings.ReplaceAll(target, "hosts.consul", fmt.Sprintf("hosts.%d", i)))
	}
	return b.String()
}

// BenchmarkLoad tells what a load allocates, and what of it stays: an idle agent
// has 6 MB for everything.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(folder(b, map[string]string{"agent.yml": many(n)}), "agent.yml")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Load(path, env()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(retained(b, path)), "B-kept")
		})
	}
}

// retained is how many bytes a configuration keeps alive.
func retained(t testing.TB, path string) int64 {
	heap := func() int64 {
		for range 3 { // the YAML library keeps its last text in a pool
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	c, err := Load(path, env())
	if err != nil {
		t.Fatal(err)
	}
	kept := heap() - before
	runtime.KeepAlive(c)
	return kept
}

// A configuration outlives its files by weeks, and keeps nothing of their text or
// its tree: those are some 20 times as large.
func TestRetained(t *testing.T) {
	path := filepath.Join(folder(t, map[string]string{"agent.yml": many(1000)}), "agent.yml")
	if kept := retained(t, path); kept > 2<<20 {
		t.Errorf("a configuration of 1000 targets keeps %d bytes", kept)
	}
}
