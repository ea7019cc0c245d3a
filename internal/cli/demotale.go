package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/demo"
	"kvexpress/internal/fleet"
	"kvexpress/internal/record"
)

// tell tells the whole story.
func (t *tale) tell(ctx context.Context) {
	n := t.flags.nodes
	t.chapter("A fleet of %d nodes in one process: no Consul, no network, no root", n)
	t.note("A hub with an embedded store listens on %s.", t.addr)
	if t.flags.keep {
		t.note("Watch it in a browser: http://%s/key/%s", t.addr, demoKey)
	}
	t.note("%d agents follow it. Each has a folder with a file, and an exec that copies the file,", n)
	t.note("below %s.", t.dir)
	t.reported(ctx)

	t.chapter("1. Publish a hosts file of %d lines", demoLines)
	t.publish(ctx, "hosts", demo.Hosts(demoLines), "-m", "first version", "--wait", "100%")
	t.note("Each node sends a receipt to the hub after its install.")
	t.note("\"delivered\" is the time from the publish until the file was installed.")

	t.chapter("2. Change one line of it. %s is slowed on purpose: its check takes %s", t.slow.Name, render.Took(demoSlow))
	t.do(func() error { return t.slow.Slow(demoSlow) })
	t.publish(ctx, "hosts", demo.Hosts(demoLines, 42), "-m", "web-0042 has moved", "--wait", "100%", "--diff")
	t.do(t.slow.Quick)
	t.note("The other nodes did not wait for %s: compare p50 with slowest.", render.Paint(t.colour(), render.Yellow, t.slow.Name))

	t.chapter("3. The same again writes nothing, and a short file reaches no node")
	t.publish(ctx, "hosts", demo.Hosts(demoLines, 42))
	t.write("broken", demo.Hosts(5))
	t.run(ctx, exitRefused, "in", "-k", demoKey, "-f", t.path("broken"), "-l", strconv.Itoa(demoLeast))

	t.chapter("4. Stop the key in the whole fleet, and resume it")
	t.write("next", demo.Hosts(demoLines, 42, 43))
	t.run(ctx, exitOK, "stop", "-k", demoKey, "-r", "looking into a DNS problem")
	t.run(ctx, exitStopped, "in", "-k", demoKey, "-f", t.path("next"), "-l", strconv.Itoa(demoLeast))
	t.run(ctx, exitOK, "resume", "-k", demoKey)

	// A bad version that passes all gates, and a node that must not get it.
	others := fmt.Sprintf("%g%%", float64((n-1)*10000/n)/100) // rounded down
	t.chapter("5. Roll back a bad version; %s is locked meanwhile, and edited by hand", t.kept.Name)
	t.run(ctx, exitOK, "lock", "-f", t.kept.File, "--node", t.kept.Name, "-r", "testing by hand", "--for", "1h")
	edited := append(demo.Hosts(demoLines, 42), "10.9.9.9 by-hand.example\n"...)
	t.do(func() error { return os.WriteFile(t.kept.File, edited, 0o600) })
	t.note("This version lacks half of the machines, and is long enough to pass:")
	t.publish(ctx, "bad", demo.Hosts(demoLines/2), "-m", "nightly run", "--wait", others)
	t.run(ctx, exitOK, "rollback", "-k", demoKey, "-l", strconv.Itoa(demoLeast), "-m", "half of it was missing", "--wait", others)
	t.do(func() error {
		if now, err := os.ReadFile(t.kept.File); err != nil || !bytes.Equal(now, edited) {
			return errors.Join(err, fmt.Errorf("%s lost the edit, although it is locked", t.kept.Name))
		}
		return nil
	})
	t.run(ctx, exitOK, "unlock", "-f", t.kept.File, "--node", t.kept.Name)
	t.note("Its agent repairs the file at once:")
	t.run(ctx, exitOK, "status", "-k", demoKey, "--wait", "100%")

	t.inStages(ctx)

	content := demo.Hosts(demoLines, 42)
	t.do(func() error { return t.fleet.Verify(content) })
	t.chapter("All checks passed")
	t.note("%s",
		render.Paint(t.colour(), render.Green,
			fmt.Sprintf("%d of %[1]d files have the bytes of version 2 (sha256 %s), and %[1]d of %[1]d execs saw them.", n,
				render.Short(record.Checksum(content)))))
	t.note("The demo read the files, not the receipts. It took %s in all.", render.Took(time.Since(t.began)))
	if t.over = t.err == nil && ctx.Err() == nil; !t.over {
		return
	}
	if !t.flags.keep {
		t.note("To try it yourself: `kvexpress demo --keep`. To go on: docs/agent.md and docs/commands.md.")
		return
	}
	t.invite()
	<-ctx.Done()
}

// inStages shows a rollout that goes back.
func (t *tale) inStages(ctx context.Context) {
	canary, before := t.fleet.Nodes[0], t.fleet.Installs()
	t.chapter("6. The same bad version in stages: it touches one node, and goes back by itself")
	t.note("%s has the label role=canary. The probe of each node looks for the last machine in the copy by its exec.", canary.Name)
	t.write("policy.yml", []byte(demoPolicy))
	for line := range strings.Lines(demoPolicy) {
		t.note("  %s", strings.TrimRight(line, "\n"))
	}
	t.run(ctx, exitOK, "policy", "set", "-k", demoKey, "-f", t.path("policy.yml"))
	t.run(ctx, exitRollout, "in", "-k", demoKey, "-f", t.path("bad"), "-l", strconv.Itoa(demoLeast), "-m", "nightly run")
	t.do(func() error {
		for i, installs := range t.fleet.Installs() {
			if i > 0 && installs != before[i] {
				return fmt.Errorf("%s installed the bad version, although it is no canary", t.fleet.Nodes[i].Name)
			}
		}
		return nil
	})
	t.note("%s replaced its file twice. The other %s never did.", canary.Name, render.Plural(len(t.fleet.Nodes)-1, "node"))
}

// reported waits until all nodes report their file: an agent's first receipt may come before that.
func (t *tale) reported(ctx context.Context) {
	t.do(func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for roster, ready := (fleet.Roster{}), 0; ready < t.flags.nodes; {
			if roster, err = t.reader.Roster(ctx, roster.Index, 5*time.Second); err != nil {
				return fmt.Errorf("wait for the receipts of all nodes: %w", err)
			}
			ready = 0
			for _, n := range roster.Nodes {
				ready += min(1, len(n.Receipt.Targets))
			}
		}
		return nil
	})
	t.note("All nodes have sent a receipt after %s. They have no file yet.", render.Took(time.Since(t.began)))
}

// invite suggests commands.
func (t *tale) invite() {
	name := os.Args[0]
	t.chapter("The demo runs until Ctrl-C. Open http://%s/key/%s in a browser, or try, in another terminal:", t.addr, demoKey)
	for _, line := range []string{
		name + " status -k hosts -s " + t.addr,
		name + " history -k hosts -s " + t.addr,
		fmt.Sprintf("%s in -k hosts -f %s -l %d --diff --wait 100%% -s %s", name, t.path("next"), demoLeast, t.addr),
		fmt.Sprintf("%s rollback -k hosts -l %d --wait 100%% -s %s", name, demoLeast, t.addr),
		"cat " + t.slow.File,
		"consul kv get -http-addr " + t.addr + " kvexpress/hosts/manifest",
	} {
		t.note("%s", line)
	}
}
