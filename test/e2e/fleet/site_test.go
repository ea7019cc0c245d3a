//go:build linux

package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// as runs a command under the prefix of the site.
func as(x *e2e.Site, args ...string) e2e.Result {
	x.T.Helper()
	return x.Run(append(args, "-p", x.Prefix)...)
}

// must is as, and wants an exit code.
func must(x *e2e.Site, code int, args ...string) e2e.Result {
	x.T.Helper()
	return x.Want(code, append(args, "-p", x.Prefix)...)
}

// seen is the JSON of `status`, or of the `wait` of another command.
type seen struct {
	fleet.Report
	Wait *struct {
		Fleet fleet.Report `json:"fleet"`
		Took  fleet.Millis `json:"took_ms"`
	} `json:"wait"`
	Stops []struct{ Key, Reason string }
	Locks []struct{ Node, File, Reason string }
	Error string
}

// status is the status of a key; the command must end with exit 0.
func status(x *e2e.Site, key string, args ...string) seen {
	x.T.Helper()
	return told(x, must(x, 0, append([]string{"status", "-k", key, "--json"}, args...)...))
}

func told(x *e2e.Site, r e2e.Result) seen {
	x.T.Helper()
	var s seen
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		x.T.Fatalf("%v: %v\n%s%s", r.Args, err, r.Stdout, r.Stderr)
	}
	return s
}

// counts is a report in one line that a test can compare.
func counts(r fleet.Report) string {
	text := fmt.Sprintf("%d of %d", r.Converged, r.Nodes)
	for _, row := range outcome.All() {
		if n := r.Outcomes[row.Outcome]; n > 0 && row.Outcome != outcome.Converged {
			text += fmt.Sprintf(", %d %s", n, row.Outcome)
		}
	}
	if n := len(r.Unread); n > 0 {
		text += fmt.Sprintf(", %d unreadable", n)
	}
	return text
}

// comesTo waits until `status` shows these counts.
func comesTo(x *e2e.Site, key, want string) seen {
	x.T.Helper()
	var s seen
	got := ""
	defer func() {
		if got != want {
			x.T.Logf("it is %s: %+v", got, s)
		}
	}()
	e2e.Eventually(x.T, key+" comes to "+want, func() bool {
		s = status(x, key)
		got = counts(s.Report)
		return got == want
	})
	return s
}

// line is the line of a node that has not converged, or has no contact.
func (s seen) line(node string) *fleet.Line {
	for _, l := range slices.Concat(s.Stragglers, s.NoContact) {
		if l.Node == node {
			return &l
		}
	}
	return nil
}

// honest is the receipt of a node whose agent delivered the live version a moment ago.
func honest(x *e2e.Site, node, key string, change ...func(*fleet.Receipt)) fleet.Receipt {
	x.T.Helper()
	m := x.Store.Manifest(x.Row(key, "manifest"))
	r := fleet.Receipt{
		Node: node, Sent: time.Now(), ClockOffset: new(int64),
		Agent: &fleet.Agent{Version: "test", Every: fleet.Millis(10 * time.Second)},
		Targets: []fleet.Target{{
			By: fleet.ByAgent, Key: key, File: "/etc/" + key, Outcome: outcome.Converged,
			Lineage: m.Lineage, Version: m.Version, SHA256: m.SHA256,
			Placed: &fleet.Placed{Age: fleet.Millis(5 * time.Millisecond), Steps: fleet.Steps{Install: fleet.Millis(time.Millisecond)}},
		}},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// putReceipt writes a receipt under the name of a node, whatever name is in it.
func putReceipt(x *e2e.Site, node string, r fleet.Receipt) {
	x.T.Helper()
	value, flags, err := r.Marshal()
	if err != nil {
		x.T.Fatal(err)
	}
	x.Store.Put(x.Layout.Node(node), string(value), flags)
}

// putFleet writes valid receipts of so many nodes.
func putFleet(x *e2e.Site, key string, nodes int, change ...func(*fleet.Receipt)) {
	x.T.Helper()
	for i := range nodes {
		name := fmt.Sprintf("honest-%d", i)
		putReceipt(x, name, honest(x, name, key, change...))
	}
}

// sent dates a receipt at another time.
func sent(after time.Duration) func(*fleet.Receipt) {
	return func(r *fleet.Receipt) { r.Sent = r.Sent.Add(after) }
}

// lone makes one Consul a place for sites.
func lone(t *testing.T) *e2e.Cluster {
	t.Helper()
	s, _ := e2e.Start(t)
	return &e2e.Cluster{T: t, Servers: []*consultest.Server{s.Server}}
}

// The faults of receipts, against real parts. Comments with "without" or "if" name the guard
// that was removed by hand to see the test fail.
func TestReceipts(t *testing.T) {
	t.Parallel()
	c := lone(t)
	parts := e2e.Parts{}
	for name, run := range map[string]func(*testing.T, *e2e.Cluster){
		"a fleet":   receiptsOfAFleet,
		"lies":      receiptsThatLie,
		"a day off": programsADayOff,
	} {
		parts[name] = func(t *testing.T) { run(t, c) }
	}
	e2e.Together(t, parts)
}

// inWait publishes with `in --wait` and returns its report.
func inWait(x *e2e.Site, code int, key, content string, args ...string) (seen, e2e.Result) {
	x.T.Helper()
	x.File("source-"+key, content)
	r := must(x, code, append([]string{"in", "-k", key, "-f", x.Path("source-" + key), "--json"}, args...)...)
	return told(x, r), r
}

// stored reads the receipt of a node past the code under test.
func stored(x *e2e.Site, node string) *e2e.Row { return x.Store.Get(x.Layout.Node(node)) }

// rewrite changes the manifest of a key, past the publisher.
func rewrite(x *e2e.Site, key string, change func(*kv.Manifest)) {
	x.T.Helper()
	path := x.Row(key, "manifest")
	old := x.Store.Get(path)
	var m kv.Manifest
	if err := json.Unmarshal(old.Value, &m); err != nil {
		x.T.Fatal(err)
	}
	change(&m)
	b, err := json.Marshal(m)
	if err != nil {
		x.T.Fatal(err)
	}
	x.Store.Put(path, string(b), old.Flags)
}

// tells reports whether a text contains all of these.
func tells(text string, all ...string) bool {
	return !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(text, s) })
}
