package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/demo"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// demoLeast is the fewest lines that are published and installed.
const demoLeast = 100

// tale is a demo that is being told.
type tale struct {
	*App
	*page
	flags  demoFlags
	dir    string
	addr   string
	layout kv.Layout
	fleet  *demo.Fleet
	began  time.Time
	over   bool // the story is: what ends it now is no interruption

	reader fleet.Reader
	slowed int // which node is
	locked int // which node will be
	report demoReport
}

// cast gives two nodes a part.
func (t *tale) cast() {
	t.slowed, t.locked = min(7, t.flags.nodes)-1, min(3, t.flags.nodes-1)-1
}

// tell is the story. An error is what did not hold.
func (t *tale) tell(ctx context.Context) (*demoReport, error) {
	for _, chapter := range []func(context.Context) error{
		t.setting, t.first, t.change, t.refusals, t.standstill, t.undo, t.verify,
	} {
		if err := chapter(ctx); err != nil {
			return nil, err
		}
		if t.err != nil { // nobody reads it any more
			return nil, fmt.Errorf("the demo could not be shown: %w", t.err)
		}
	}
	t.over = true
	t.report.Nodes, t.report.Seconds = t.flags.nodes, time.Since(t.began).Seconds()
	t.ending(ctx)
	return &t.report, nil
}

func (t *tale) node(i int) demo.Node { return t.fleet.Nodes[i] }

func (t *tale) setting(ctx context.Context) error {
	t.print(t.paint(bold, fmt.Sprintf("A fleet of %d nodes in one process: no Consul, no network, no root", t.flags.nodes)))
	t.note("An embedded store speaks Consul's HTTP API on %s.", t.addr)
	t.note("%d agents watch it. Each has a file, and a reload that copies it, in a folder of its own", t.flags.nodes)
	t.note("below %s.", t.dir)
	store, err := consul.New(consul.Options{Addr: t.addr, Bare: true})
	if err != nil {
		return err
	}
	t.reader = fleet.Reader{Store: store, Layout: t.layout}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for roster := (fleet.Roster{}); len(roster.Nodes) < t.flags.nodes; {
		if roster, err = t.reader.Roster(ctx, roster.Index, 5*time.Second); err != nil {
			return fmt.Errorf("wait for the first report of all nodes: %w", err)
		}
	}
	t.note("All have reported after %s: they have no file yet.", took(time.Since(t.began)))
	return nil
}

func (t *tale) first(ctx context.Context) error {
	t.chapter("1. Publish a hosts file of %d lines", demoLines)
	if err := t.write("hosts", demo.Hosts(demoLines)); err != nil {
		return err
	}
	if err := t.publish(ctx, "first version"); err != nil {
		return err
	}
	t.note("A node reports a while after its delivery, so that reports do not slow those of others.")
	t.note("\"in place\" is when the file was there.")
	return nil
}

func (t *tale) change(ctx context.Context) error {
	slow := t.node(t.slowed)
	t.chapter("2. Change one line of it. %s is slowed on purpose: its check takes %s", slow.Name, took(demoSlow))
	if err := t.write("hosts", demo.Hosts(demoLines, 42)); err != nil {
		return err
	}
	if err := slow.Slow(demoSlow); err != nil {
		return err
	}
	if err := t.publish(ctx, "web-0042 has moved", "--diff"); err != nil {
		return err
	}
	if err := slow.Quick(); err != nil {
		return err
	}
	roster, err := t.reader.Roster(ctx, 0, 0)
	if err != nil {
		return err
	}
	standing, err := stands(ctx, &t.reader, demoKey)
	if err != nil {
		return err
	}
	t.report.Delivered, t.report.Slowed = fleet.Examine(roster, standing, fleet.Options{}).Delivered, slow.Name
	times := fleet.Deliveries(roster, standing, fleet.Options{})
	at := slices.IndexFunc(times, func(d fleet.Delivery) bool { return d.Node == slow.Name })
	if at < 0 || times[at].Took < demoSlow {
		return fmt.Errorf("%s was slowed by %s, and that is not what it reports: %+v", slow.Name, took(demoSlow), times)
	}
	t.note("From the publish to the file in place, by node:")
	t.histogram(times, func(node string) string {
		if node != slow.Name {
			return ""
		}
		return t.paint(yellow, node+", slowed on purpose")
	})
	t.note("Nobody waited for it: the others were served meanwhile.")
	return nil
}

func (t *tale) refusals(ctx context.Context) error {
	t.chapter("3. The same again writes nothing, and a file that is too short reaches nobody")
	if err := t.run(ctx, exitOK, "in", "-k", demoKey, "-f", t.path("hosts"), "-l", strconv.Itoa(demoLeast)); err != nil {
		return err
	}
	if err := t.write("broken", demo.Hosts(5)); err != nil {
		return err
	}
	return t.run(ctx, exitRefused, "in", "-k", demoKey, "-f", t.path("broken"), "-l", strconv.Itoa(demoLeast))
}

func (t *tale) standstill(ctx context.Context) error {
	t.chapter("4. Stop the key in the whole fleet, and go on")
	if err := t.write("next", demo.Hosts(demoLines, 42, 43)); err != nil {
		return err
	}
	if err := t.run(ctx, exitOK, "stop", "-k", demoKey, "-r", "looking into a DNS problem"); err != nil {
		return err
	}
	if err := t.run(ctx, exitStopped, "in", "-k", demoKey, "-f", t.path("next"), "-l", strconv.Itoa(demoLeast)); err != nil {
		return err
	}
	return t.run(ctx, exitOK, "resume", "-k", demoKey)
}

// undo is a bad version that passes all gates, and a node that must not get it.
func (t *tale) undo(ctx context.Context) error {
	kept := t.node(t.locked)
	others := fmt.Sprintf("%g%%", float64((t.flags.nodes-1)*10000/t.flags.nodes)/100) // rounded down
	t.chapter("5. A bad version is taken back; %s is locked meanwhile, and edited by hand", kept.Name)
	if err := t.run(ctx, exitOK, "lock", "-f", kept.File, "--node", kept.Name, "-r", "testing by hand", "--for", "1h"); err != nil {
		return err
	}
	edited, err := kept.Edit("10.9.9.9 by-hand.example\n")
	if err != nil {
		return err
	}
	t.note("Half of the machines are missing in this one, and it is long enough to pass:")
	if err := t.write("bad", demo.Hosts(demoLines/2)); err != nil {
		return err
	}
	if err := t.run(ctx, exitOK, "in", "-k", demoKey, "-f", t.path("bad"), "-l", strconv.Itoa(demoLeast), "-m", "nightly run", "--wait", others); err != nil {
		return err
	}
	if err := t.run(ctx, exitOK, "rollback", "-k", demoKey, "-l", strconv.Itoa(demoLeast), "-m", "half of it was missing", "--wait", others); err != nil {
		return err
	}
	if now, err := os.ReadFile(kept.File); err != nil || !bytes.Equal(now, edited) {
		return errors.Join(err, fmt.Errorf("%s has lost what was edited by hand, although it is locked", kept.Name))
	}
	if err := t.run(ctx, exitOK, "unlock", "-f", kept.File, "--node", kept.Name); err != nil {
		return err
	}
	t.note("Its agent puts the file right at once:")
	return t.run(ctx, exitOK, "status", "-k", demoKey, "--wait", "100%")
}

func (t *tale) verify(ctx context.Context) error {
	t.chapter("All of it held")
	content := demo.Hosts(demoLines, 42)
	if err := t.fleet.Verify(content); err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	t.report.SHA256 = hex.EncodeToString(sum[:])
	t.note("%s", t.paint(green, fmt.Sprintf("%d of %[1]d files have the bytes of version 2 (sha256 %s), and %[1]d of %[1]d reloads saw them.", t.flags.nodes, short(t.report.SHA256))))
	t.note("That was read from the disk, and not from what the nodes say. It took %s in all.", took(time.Since(t.began)))
	return ctx.Err()
}

// ending says what to do next; with --keep it goes on until somebody ends it.
func (t *tale) ending(ctx context.Context) {
	if !t.flags.keep {
		t.note("`kvexpress demo --keep` goes on, for you to try. docs/agent.md and docs/commands.md tell the rest.")
		return
	}
	t.chapter("It goes on until Ctrl-C. Try, in another terminal:")
	if exe, found := ourselves(); !found {
		t.note("alias kvexpress=%s", exe)
	}
	for _, line := range []string{
		"kvexpress status -k hosts -s " + t.addr,
		"kvexpress history -k hosts -s " + t.addr,
		fmt.Sprintf("kvexpress in -k hosts -f %s -l %d --diff --wait 100%% -s %s", t.path("next"), demoLeast, t.addr),
		fmt.Sprintf("kvexpress rollback -k hosts -l %d --wait 100%% -s %s", demoLeast, t.addr),
		"cat " + t.node(t.slowed).File,
		"consul kv get -http-addr " + t.addr + " kvexpress/hosts/manifest",
	} {
		t.note("%s", line)
	}
	<-ctx.Done()
}

// ourselves is this very program; found is whether it is the kvexpress on PATH.
func ourselves() (path string, found bool) {
	exe, err := os.Executable()
	if err != nil {
		return "", true // there is nothing better to say
	}
	named, err := exec.LookPath("kvexpress")
	if err != nil {
		return exe, false
	}
	a, errA := os.Stat(exe)
	b, errB := os.Stat(named)
	return exe, errA == nil && errB == nil && os.SameFile(a, b)
}

func (t *tale) path(name string) string { return filepath.Join(t.dir, name) }

func (t *tale) write(name string, content []byte) error {
	return os.WriteFile(t.path(name), content, 0o600)
}

// publish publishes the hosts file, and waits until all nodes have it.
func (t *tale) publish(ctx context.Context, why string, more ...string) error {
	args := []string{"in", "-k", demoKey, "-f", t.path("hosts"), "-l", strconv.Itoa(demoLeast), "-m", why, "--wait", "100%"}
	return t.run(ctx, exitOK, append(args, more...)...)
}

// run shows a command and what it prints, and runs it: in this process, with the demo's
// store, and otherwise as anybody would. It must end with this exit code.
func (t *tale) run(ctx context.Context, code int, args ...string) error {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = strings.ReplaceAll(arg, t.dir+"/", "")
	}
	t.command(shown)
	var printed bytes.Buffer
	app := &App{
		Stdin: strings.NewReader(""), Stdout: &printed, Stderr: &printed, Getenv: t.getenv,
		inside: &inside{addr: t.addr, colour: t.colours},
	}
	if isTerminal(t.to) && t.Getenv("TERM") != "dumb" {
		app.inside.screen = t.to
	}
	got := app.Run(ctx, args)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.output(strings.ReplaceAll(printed.String(), t.dir+"/", ""))
	if got != exitOK {
		t.output(fmt.Sprintf("(exit %d)", got))
	}
	if got != code {
		return fmt.Errorf("`kvexpress %s` ended with exit code %d, where %d was expected: %s",
			strings.Join(shown, " "), got, code, strings.Join(strings.Fields(printed.String()), " "))
	}
	return nil
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
		return filepath.Join(t.dir, "none")
	}
	return ""
}
