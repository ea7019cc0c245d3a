//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/codec"
	"kvexpress/internal/consultest"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// as runs a command under the prefix of the site.
func (x *site) as(args ...string) result {
	x.t.Helper()
	return x.run(append(args, "-p", x.prefix)...)
}

// must is as, and wants an exit code.
func (x *site) must(code int, args ...string) result {
	x.t.Helper()
	return x.want(code, append(args, "-p", x.prefix)...)
}

// seen is what `status --json`, or the `wait` of another command, tells.
type seen struct {
	fleet.Report
	Wait *struct {
		Fleet fleet.Report `json:"fleet"`
		Seen  fleet.Seen   `json:"seen"`
	} `json:"wait"`
	Stops []struct{ Key, Reason string }
	Locks []struct{ Node, File, Reason string }
	Error string
}

// status is what `status` tells of a key; it has to end with exit 0.
func (x *site) status(key string, args ...string) seen {
	x.t.Helper()
	return x.told(x.must(0, append([]string{"status", "-k", key, "--json"}, args...)...))
}

func (x *site) told(r result) seen {
	x.t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		x.t.Fatalf("%v: %v\n%s%s", r.args, err, r.stdout, r.stderr)
	}
	return s
}

// counts is what a report comes to, in one line that a test can compare.
func counts(r fleet.Report) string {
	text := fmt.Sprintf("%d of %d", r.Arrived, r.Nodes)
	for _, part := range []struct {
		n    int
		what string
	}{{r.Owed, "owed"}, {r.Behind, "behind"}, {r.Unsound, "unsound"}, {r.Silent, "silent"}, {r.Gone, "gone"}, {len(r.Unread), "unread"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

// comesTo waits until `status` tells these counts.
func (x *site) comesTo(key, want string) seen {
	x.t.Helper()
	var s seen
	got := ""
	defer func() {
		if got != want {
			x.t.Logf("it is %s: %+v", got, s)
		}
	}()
	eventually(x.t, key+" has arrived at "+want, func() bool {
		s = x.status(key)
		got = counts(s.Report)
		return got == want
	})
	return s
}

// line is what is told of a node that has not arrived, or is silent.
func (s seen) line(node string) *fleet.Line {
	for _, l := range slices.Concat(s.Stragglers, s.SilentNodes) {
		if l.Node == node {
			return &l
		}
	}
	return nil
}

// honest is the receipt of a node whose agent delivered what stands now. It says so a
// moment later.
func (x *site) honest(node, key string, change ...func(*fleet.Receipt)) fleet.Receipt {
	x.t.Helper()
	m := x.store.manifest(x.row(key, "manifest"))
	r := fleet.Receipt{
		Node: node, Sent: time.Now(),
		Agent: &fleet.Agent{Version: "test", Every: fleet.Seconds(10 * time.Second)},
		Targets: []fleet.Target{{
			By: fleet.ByAgent, Key: key, File: "/etc/" + key, State: "current",
			Lineage: m.Lineage, Version: m.Version, SHA256: m.SHA256,
			Placed: &fleet.Placed{Age: fleet.Millis(5 * time.Millisecond), Steps: fleet.Steps{Read: fleet.Millis(time.Millisecond)}},
		}},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// report puts a receipt under the name of a node, whoever it says that it is.
func (x *site) report(node string, r fleet.Receipt) {
	x.t.Helper()
	value, flags, err := r.Marshal()
	if err != nil {
		x.t.Fatal(err)
	}
	x.store.put(x.layout.Node(node), string(value), flags)
}

// fleet puts honest receipts of so many nodes.
func (x *site) fleet(key string, nodes int, change ...func(*fleet.Receipt)) {
	x.t.Helper()
	for i := range nodes {
		name := fmt.Sprintf("honest-%d", i)
		x.report(name, x.honest(name, key, change...))
	}
}

// sent dates a receipt by a clock that is off.
func sent(off time.Duration) func(*fleet.Receipt) {
	return func(r *fleet.Receipt) { r.Sent = r.Sent.Add(off) }
}

// lone makes one Consul a place for sites.
func lone(t *testing.T) *cluster {
	t.Helper()
	s, _ := start(t)
	return &cluster{t: t, servers: []*consultest.Server{s.server}}
}

// The faults of receipts, against real parts. "Taken out" in the comments tells which
// guard was taken out by hand to see the test fail.
func TestReceipts(t *testing.T) {
	t.Parallel()
	c := lone(t)
	var parts []part
	for name, run := range map[string]func(*testing.T, *cluster){
		"a fleet":       receiptsOfAFleet,
		"a killed node": receiptOfAKilledNode,
		"the dead":      receiptsOfTheDead,
		"lies":          receiptsThatLie,
		"many targets":  receiptsOfManyTargets,
		"late ones":     receiptsThatComeLate,
		"clocks":        receiptsOfClocksADayOff,
		"a lone clock":  receiptsOfAPublisherADayOff,
		"a straggler":   lastOfAPublisherADayBehind,
		"a day ahead":   waitOfWhoIsADayAhead,
		"delays":        receiptsNeverDelay,
	} {
		parts = append(parts, part{name, func(t *testing.T) { run(t, c) }})
	}
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		parts = append(parts, part{"a program a day off", func(t *testing.T) { receiptsOfAProgramADayOff(t, c) }})
	}
	together(t, parts...)
}

// rawReceipt puts any bytes in the place of a receipt.
func (x *site) rawReceipt(node, value string, e codec.Encoding) {
	x.t.Helper()
	x.store.put(x.layout.Node(node), value, e.Flags())
}

// inWait publishes with `in --wait` and tells what became of it.
func (x *site) inWait(code int, key, content string, args ...string) (seen, result) {
	x.t.Helper()
	x.file("source-"+key, content)
	r := x.must(code, append([]string{"in", "-k", key, "-f", x.path("source-" + key), "--json"}, args...)...)
	return x.told(r), r
}

// stands is the path of the receipt of a node, for a look past the code under test.
func (x *site) stands(node string) *row { return x.store.get(x.layout.Node(node)) }

// rewrite changes the manifest of a key, as nobody but a publisher could.
func (x *site) rewrite(key string, change func(*kv.Manifest)) {
	x.t.Helper()
	path := x.row(key, "manifest")
	old := x.store.get(path)
	var m kv.Manifest
	if err := json.Unmarshal(old.Value, &m); err != nil {
		x.t.Fatal(err)
	}
	change(&m)
	b, err := json.Marshal(m)
	if err != nil {
		x.t.Fatal(err)
	}
	x.store.put(path, string(b), old.Flags)
}

// tells reports whether a text has all of these in it.
func tells(text string, all ...string) bool {
	return !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(text, s) })
}
