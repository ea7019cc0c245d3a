//go:build linux

package e2e

import (
	"context"
	"os"
	"testing"

	"kvexpress/internal/kv"
)

// agentsOfOneFile is fault 11: two agents with states of their own, and `out` again
// and again, all on one path. Whoever reads the file sees what was published, whole.
func agentsOfOneFile(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	contents := make([]string, 8)
	for i := range contents {
		contents[i] = noise(60_000+i*5_000, uint64(i)) // on both sides of what a watch brings along
	}
	x.publish("hosts", contents[0])
	exec := x.hashes("hash", "hosts")
	for i, name := range []string{"first", "second"} {
		x.config(name, []string{c.servers[i].Addr}, x.to("hosts", fields{"exec": exec}))
	}
	first, second := x.agent("first"), x.agent("second")
	first.delivers("hosts", contents[0])
	second.delivers("hosts", contents[0])

	last := 0
	publishAll := func(count int, after func()) {
		for i := range count {
			last = (last + 1 + i%3) % len(contents)
			x.publish("hosts", contents[last])
			if after != nil {
				after()
			}
		}
	}
	outs := 0
	torn, reads := watched(t, x.path("hosts"), contents, func() {
		end := loop(t, func(context.Context, int) {
			outs++
			if r := x.run("out", "-p", x.prefix, "-k", "hosts", "-f", x.path("hosts"), "-e", exec); r.code != 0 {
				t.Errorf("out: %s", r.stderr)
			}
		})
		publishAll(times(1000), nil)
		first.delivers("hosts", contents[last])
		second.delivers("hosts", contents[last])
		end()
	})
	installs := first.target("hosts").Counts.Installs + second.target("hosts").Counts.Installs
	t.Logf("%d versions, %d installs by the agents, %d outs; torn: %d of %d reads", times(1000), installs, outs, torn, reads)
	if torn > 0 || reads == 0 {
		t.Errorf("%d of %d reads were torn", torn, reads)
	}
	if installs == 0 || outs == 0 {
		t.Error("nobody had anything to do: this test sees nothing")
	}
	// Whoever installed it last owed the exec, and the other had nothing to do.
	eventually(t, "the exec ran for what is in place", func() bool { return x.ranLast("hash", "hosts", contents[last]) })
	if litter := x.litter(); len(litter) > 0 {
		t.Errorf("left behind: %q", litter)
	}

	// The control: a third one follows the key with a plain write, past the
	// transaction.
	first.stop()
	second.stop()
	torn, reads = watched(t, x.path("hosts"), contents, func() {
		publishAll(30, func() {
			rows, err := x.client.Read(t.Context(), kv.Default, x.row("hosts", "data"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(x.path("hosts"), rows[x.row("hosts", "data")].Value, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	})
	if t.Logf("torn by a plain writer: %d of %d reads", torn, reads); torn == 0 {
		t.Error("the control: the reader does not see a torn file")
	}
}
