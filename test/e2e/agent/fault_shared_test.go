//go:build linux

package agent

import (
	"context"
	"crypto/sha256"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"kvexpress/test/e2e"
)

// agentsOfOneFile: two agents with states of their own, and four processes that run
// `out` again and again, all on one path. A reader of the file sees only whole
// published content.
func agentsOfOneFile(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	contents := make([]string, 8)
	for i := range contents {
		contents[i] = e2e.Noise(60_000+i*5_000, uint64(i)) // on both sides of what a watch brings along
	}
	x.Publish("hosts", contents[0])
	exec := hashes(x, "hash", "hosts")
	for i, name := range []string{"first", "second"} {
		agentConfig(x, name, []string{c.Servers[i].Addr}, to(x, "hosts", e2e.Fields{"exec": exec}))
	}
	first, second := x.Agent("first"), x.Agent("second")
	first.Delivers("hosts", contents[0])
	second.Delivers("hosts", contents[0])

	last := 0
	publishAll := func(count int, after func()) {
		for i := range count {
			last = (last + 1 + i%3) % len(contents)
			x.Publish("hosts", contents[last])
			if after != nil {
				after()
			}
		}
	}
	var outs atomic.Int64
	torn, reads := watched(t, x.Path("hosts"), contents, func() {
		var ends []func()
		for range 4 {
			ends = append(ends, loop(t, func(context.Context, int) {
				outs.Add(1)
				if r := x.Run("out", "-p", x.Prefix, "-k", "hosts", "-f", x.Path("hosts"), "-e", exec); r.Code != 0 {
					t.Errorf("out: %s", r.Stderr)
				}
			}))
		}
		publishAll(e2e.Times(1000), nil)
		first.Delivers("hosts", contents[last])
		second.Delivers("hosts", contents[last])
		for _, end := range ends {
			end()
		}
	})
	installs := first.Target("hosts").Counts.Installs + second.Target("hosts").Counts.Installs
	t.Logf("%d versions, %d installs by the agents, %d outs; torn: %d of %d reads", e2e.Times(1000), installs, outs.Load(), torn,
		reads)
	if torn > 0 || reads == 0 {
		t.Errorf("%d of %d reads were torn", torn, reads)
	}
	if installs == 0 || outs.Load() == 0 {
		t.Error("no process installed anything: this test proves nothing")
	}
	// The process that installed it last runs the exec; the others have nothing to do.
	e2e.Eventually(t, "the exec ran for the bytes in place", func() bool { return ranLast(x, "hash", "hosts", contents[last]) })
	if litter := litter(x); len(litter) > 0 {
		t.Errorf("left behind: %q", litter)
	}
}

// watched reads a file for as long as work takes, and counts the reads that were
// of none of the contents.
func watched(t *testing.T, path string, contents []string, work func()) (torn, reads int) {
	t.Helper()
	whole := map[[32]byte]bool{}
	for _, c := range contents {
		whole[sha256.Sum256([]byte(c))] = true
	}
	var stop atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !stop.Load() {
			b, err := os.ReadFile(path)
			if os.IsNotExist(err) && reads == 0 {
				continue // not made yet
			}
			if reads++; err != nil || !whole[sha256.Sum256(b)] {
				torn++
			}
		}
	})
	work()
	stop.Store(true)
	reader.Wait()
	return torn, reads
}
