package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/demo"
	"kvexpress/internal/fleet"
	"kvexpress/internal/record"
)

// tale is a demo that is being told. After an error, which is what did not hold, nothing
// more is done.
type tale struct {
	*App
	flags      demoFlags
	dir, addr  string
	reader     fleet.Reader
	fleet      *demo.Fleet
	slow, kept demo.Node // that is slowed, and that is locked
	began      time.Time
	to         io.Writer
	over       bool // the story is: what ends it now is no interruption
	err        error
	report     demoReport
}

func (t *tale) tell(ctx context.Context) {
	n := t.flags.nodes
	t.chapter("A fleet of %d nodes in one process: no Consul, no network, no root", n)
	t.note("An embedded store speaks Consul's HTTP API on %s.", t.addr)
	t.note("%d agents watch it. Each has a file, and a reload that copies it, in a folder of its own", n)
	t.note("below %s.", t.dir)
	t.reported(ctx)

	t.chapter("1. Publish a hosts file of %d lines", demoLines)
	t.publish(ctx, "hosts", demo.Hosts(demoLines), "-m", "first version", "--wait", "100%")
	t.note("A node reports a while after its delivery, so that reports do not slow those of others.")
	t.note("\"in place\" is when the file was there.")

	t.chapter("2. Change one line of it. %s is slowed on purpose: its check takes %s", t.slow.Name, render.Took(demoSlow))
	t.do(func() error { return t.slow.Slow(demoSlow) })
	t.publish(ctx, "hosts", demo.Hosts(demoLines, 42), "-m", "web-0042 has moved", "--wait", "100%", "--diff")
	t.do(t.slow.Quick)
	t.do(func() error { return t.measure(ctx) })

	t.chapter("3. The same again writes nothing, and a file that is too short reaches nobody")
	t.publish(ctx, "hosts", demo.Hosts(demoLines, 42))
	t.write("broken", demo.Hosts(5))
	t.run(ctx, exitRefused, "in", "-k", demoKey, "-f", t.path("broken"), "-l", strconv.Itoa(demoLeast))

	t.chapter("4. Stop the key in the whole fleet, and go on")
	t.write("next", demo.Hosts(demoLines, 42, 43))
	t.run(ctx, exitOK, "stop", "-k", demoKey, "-r", "looking into a DNS problem")
	t.run(ctx, exitStopped, "in", "-k", demoKey, "-f", t.path("next"), "-l", strconv.Itoa(demoLeast))
	t.run(ctx, exitOK, "resume", "-k", demoKey)

	// A bad version that passes all gates, and a node that must not get it.
	others := fmt.Sprintf("%g%%", float64((n-1)*10000/n)/100) // rounded down
	t.chapter("5. A bad version is taken back; %s is locked meanwhile, and edited by hand", t.kept.Name)
	t.run(ctx, exitOK, "lock", "-f", t.kept.File, "--node", t.kept.Name, "-r", "testing by hand", "--for", "1h")
	edited := append(demo.Hosts(demoLines, 42), "10.9.9.9 by-hand.example\n"...)
	t.do(func() error { return os.WriteFile(t.kept.File, edited, 0o600) })
	t.note("Half of the machines are missing in this one, and it is long enough to pass:")
	t.publish(ctx, "bad", demo.Hosts(demoLines/2), "-m", "nightly run", "--wait", others)
	t.run(ctx, exitOK, "rollback", "-k", demoKey, "-l", strconv.Itoa(demoLeast), "-m", "half of it was missing", "--wait", others)
	t.do(func() error {
		if now, err := os.ReadFile(t.kept.File); err != nil || !bytes.Equal(now, edited) {
			return errors.Join(err, fmt.Errorf("%s has lost what was edited by hand, although it is locked", t.kept.Name))
		}
		return nil
	})
	t.run(ctx, exitOK, "unlock", "-f", t.kept.File, "--node", t.kept.Name)
	t.note("Its agent puts the file right at once:")
	t.run(ctx, exitOK, "status", "-k", demoKey, "--wait", "100%")

	content := demo.Hosts(demoLines, 42)
	t.do(func() error { return t.fleet.Verify(content) })
	t.report.SHA256, t.report.Nodes, t.report.Seconds = record.Checksum(content), n, time.Since(t.began).Seconds()
	t.chapter("All of it held")
	t.note("%s",
		render.Paint(t.colour(), render.Green,
			fmt.Sprintf("%d of %[1]d files have the bytes of version 2 (sha256 %s), and %[1]d of %[1]d reloads saw them.", n,
				render.Short(t.report.SHA256))))
	t.note("That was read from the disk, and not from what the nodes say. It took %s in all.", render.Took(time.Since(t.began)))
	if t.over = t.err == nil && ctx.Err() == nil; !t.over {
		return
	}
	if !t.flags.keep {
		t.note("`kvexpress demo --keep` goes on, for you to try. docs/agent.md and docs/commands.md tell the rest.")
		return
	}
	t.invite()
	<-ctx.Done()
}

// reported waits for the first report of all nodes.
func (t *tale) reported(ctx context.Context) {
	t.do(func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for roster := (fleet.Roster{}); len(roster.Nodes) < t.flags.nodes; {
			if roster, err = t.reader.Roster(ctx, roster.Index, 5*time.Second); err != nil {
				return fmt.Errorf("wait for the first report of all nodes: %w", err)
			}
		}
		return nil
	})
	t.note("All have reported after %s: they have no file yet.", render.Took(time.Since(t.began)))
}

// measure tells how long the change took to the node that was slowed, and to the others.
func (t *tale) measure(ctx context.Context) error {
	roster, err := t.reader.Roster(ctx, 0, 0)
	if err != nil {
		return err
	}
	live, err := t.reader.One(ctx, roster, demoKey)
	if err != nil {
		return err
	}
	d := fleet.Examine(roster, live, fleet.Options{}).Delivered
	t.report.Delivered, t.report.Slowed = d, t.slow.Name
	if d.SlowestNode != t.slow.Name || time.Duration(d.Slowest) < demoSlow {
		return fmt.Errorf("%s was slowed by %s, and that is not what the nodes report: %s", t.slow.Name,
			render.Took(demoSlow), percentiles(d))
	}
	t.note("%s: it had the change after %s. Nobody waited for it: half of all had it after %s.",
		render.Paint(t.colour(), render.Yellow, t.slow.Name+", slowed on purpose"), render.Took(time.Duration(d.Slowest)),
		render.Took(time.Duration(d.P50)))
	return nil
}

// invite says what to try next.
func (t *tale) invite() {
	name := "kvexpress"
	if _, err := exec.LookPath(name); err != nil {
		name, _ = os.Executable() // there is nothing better to say
	}
	t.chapter("It goes on until Ctrl-C. Try, in another terminal:")
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

func (t *tale) do(step func() error) {
	if t.err == nil {
		t.err = step()
	}
}

func (t *tale) print(text string) {
	t.do(func() error {
		if _, err := fmt.Fprintln(t.to, text); err != nil {
			return fmt.Errorf("the demo could not be shown: %w", err)
		}
		return nil
	})
}

// chapter begins one.
func (t *tale) chapter(format string, args ...any) {
	t.print("\n" + render.Paint(t.colour(), render.Bold, fmt.Sprintf(format, args...)))
}

// note says what is to be known of what is shown.
func (t *tale) note(format string, args ...any) { t.print("  " + fmt.Sprintf(format, args...)) }

func (t *tale) path(name string) string { return filepath.Join(t.dir, name) }

func (t *tale) write(name string, content []byte) {
	t.do(func() error { return os.WriteFile(t.path(name), content, 0o600) })
}

// publish writes a source file, and publishes it.
func (t *tale) publish(ctx context.Context, file string, content []byte, more ...string) {
	t.write(file, content)
	t.run(ctx, exitOK, append([]string{"in", "-k", demoKey, "-f", t.path(file), "-l", strconv.Itoa(demoLeast)}, more...)...)
}

// run shows a command and what it prints, and runs it: in this process, with the demo's
// store, and otherwise as anybody would. It must end with this exit code.
func (t *tale) run(ctx context.Context, code int, args ...string) {
	if t.err != nil {
		return
	}
	shown := "kvexpress"
	for _, arg := range args {
		if arg = strings.ReplaceAll(arg, t.dir+"/", ""); strings.ContainsAny(arg, " ;'") {
			arg = "'" + arg + "'"
		}
		shown += " " + arg
	}
	t.note("%s", render.Paint(t.colour(), render.Cyan, "$ "+shown))
	var printed bytes.Buffer
	app := &App{
		Stdin: strings.NewReader(""), Stdout: &printed, Stderr: &printed, Getenv: t.getenv,
		inside: &inside{addr: t.addr, colour: t.colour()},
	}
	if render.IsTerminal(t.to) && t.Getenv("TERM") != "dumb" {
		app.inside.screen = t.to
	}
	got := app.Run(ctx, args)
	if ctx.Err() != nil {
		t.err = context.Cause(ctx)
		return
	}
	text := strings.ReplaceAll(printed.String(), t.dir+"/", "")
	if got != exitOK {
		text += fmt.Sprintf("(exit %d)\n", got)
	}
	for line := range strings.Lines(text) {
		t.print(strings.TrimRight("    "+line, " \n"))
	}
	if got != code {
		t.err = fmt.Errorf("`%s` ended with exit code %d, where %d was expected: %s", shown, got, code,
			strings.Join(strings.Fields(text), " "))
	}
}

// getenv is the environment of the demo's commands: nothing of this machine's but what
// its terminal and its user are.
func (t *tale) getenv(name string) string {
	switch name {
	case "LC_ALL", "LC_CTYPE", "LANG", "TERM", "USER", "SUDO_USER":
		return t.Getenv(name)
	case "KVEXPRESS_SYSLOG":
		return "off"
	case "KVEXPRESS_DATADOG_CONF":
		return t.path("none")
	}
	return ""
}
