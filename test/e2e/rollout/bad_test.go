//go:build linux

package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// badNodes is how many nodes each kind of bad version has: one in its first stage.
const badNodes = 4

// badPolicy: the first stage is one node.
const badPolicy = "stages:\n  - {count: 1, bake: 2s}\n  - {share: 50%, bake: 2s}\n  - {share: 100%, bake: 2s}\ngates: [content]\ntimeout: 20s\n"

// kinds are the words in a bad version, and what they make of it. The target's own commands look for them.
var kinds = map[string]string{
	"checkfails":   "its check fails",
	"execfails":    "its exec fails",
	"exechangs":    "its exec hangs",
	"probefails":   "its probe fails at once",
	"probelater":   "its probe fails after a second",
	"tooshort":     "it has too few lines for the nodes",
	"unreadable":   "its bytes in the store are damaged",
	"nodedies":     "the agent is killed by its exec",
	"losescontact": "the agent is stopped by its exec",
	"gatefails":    "the gate of the hubs fails",
}

// badFleet is the nodes of one kind, which follow a key of their own.
type badFleet struct {
	*e2e.Site
	t      testing.TB
	kind   string
	hubs   *pair
	nodes  []*e2e.Daemon
	n      int
	before string // content that all have
}

// TestBadVersions: bad versions of ten kinds never pass the stage that shows them. During half of them, a hub is killed at a random
// moment. In the end every node has what is current.
func TestBadVersions(t *testing.T) {
	s, _ := e2e.Start(t)
	c := &e2e.Cluster{T: t, Servers: []*consultest.Server{s.Server}}
	each := max(2, e2e.Times(20))
	parts := e2e.Parts{}
	for kind := range kinds {
		parts[kind] = func(t *testing.T) {
			f := newBadFleet(c.Site(t, 0), kind)
			for i := range each {
				f.bad(i >= each/2)
			}
			f.good()
		}
	}
	e2e.Together(t, parts)
}

// newBadFleet runs the nodes of a kind. Each command notes in a log that it ran, with the number of the version in its file.
func newBadFleet(x *e2e.Site, kind string) *badFleet {
	x.T.Helper()
	f := &badFleet{Site: x, t: x.T, kind: kind, hubs: newPair(x), before: version(0, "fine")}
	f.Publish(kind, f.before)
	f.Ok("policy", "set", "-p", f.Prefix, "-k", kind, "-f", f.File(kind+"-policy.yml", badPolicy))
	for i := range badNodes {
		name := fmt.Sprintf("%s-%d", kind, i)
		f.ConfigWith(name, e2e.Fields{"hubs": f.hubs.addrs}, nil, e2e.Fields{
			"key": kind, "file": f.Path(name), "min_lines": 5, "exec_timeout": "1s", "probe_timeout": "1s",
			"check": []string{f.Script(name+".check", `sed -n 's/^version /`+name+` /p' "$1" >>`+f.Path(kind+".log")+"\n! grep -q checkfails \"$1\"\n"), "{file}"},
			"exec": []string{f.Script(name+".exec", `case $(cat "$1") in
*execfails*) exit 1;;
*exechangs*) sleep 30;;
*nodedies*) kill -9 $PPID;;
*losescontact*) kill -STOP $PPID;;
esac
`), "{file}"},
			"probe": []string{f.Script(name+".probe", `case $(cat "$1") in
*probefails*) exit 1;;
*probelater*) test $(( $(date +%s%N) - $(date -r "$1" +%s%N) )) -lt 1000000000;;
esac
`), "{file}"},
		})
		f.nodes = append(f.nodes, f.Agent(name))
	}
	f.all(f.before)
	return f
}

// version is content with a number and a word.
func version(n int, word string) string {
	return fmt.Sprintf("version %d\n%s\n", n, word) + strings.Repeat("line\n", 8)
}

// bad publishes a bad version, and wants that at most one node has seen it, and that all have what they had.
func (f *badFleet) bad(kill bool) {
	f.t.Helper()
	f.n++
	content := version(f.n, f.kind)
	if f.kind == "tooshort" {
		content = fmt.Sprintf("version %d\n", f.n)
	}
	file, began := f.File(f.kind+"-source", content), time.Now()
	var all sync.WaitGroup
	var r e2e.Result
	ended := make(chan struct{})
	all.Go(func() {
		defer close(ended)
		r = f.Run("in", "-p", f.Prefix, "-k", f.kind, "-l", "1", "--hub", strings.Join(f.hubs.addrs, ","), "-f", file)
	})
	if kill {
		all.Go(f.hubs.disturb)
	}
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-time.After(20 * time.Millisecond):
			if f.kind == "unreadable" {
				f.damage(content)
			}
		}
	}
	all.Wait()
	if r.Code != 11 {
		f.t.Errorf("version %d, %s: in ended with %d\n%s%s", f.n, kinds[f.kind], r.Code, r.Stdout, r.Stderr)
	}
	f.t.Logf("version %d, %s, hub killed: %t: %s", f.n, kinds[f.kind], kill, time.Since(began).Round(time.Millisecond))
	f.revive()
	f.all(f.before)
	most := 1
	if f.kind == "unreadable" {
		most = badNodes // a hub that read it before it was damaged finds out when it promotes it
	}
	if had := f.had(f.n); len(had) > most {
		f.t.Errorf("version %d, %s: these nodes had it: %q", f.n, kinds[f.kind], had)
	}
}

// good publishes a version that all get.
func (f *badFleet) good() {
	f.t.Helper()
	f.n++
	f.before = version(f.n, "fine")
	r := f.Run("in", "-p", f.Prefix, "-k", f.kind, "--hub", strings.Join(f.hubs.addrs, ","), "-f", f.File(f.kind+"-source", f.before))
	if r.Code != 0 {
		f.t.Errorf("a good version ends with %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	f.all(f.before)
}

// damage overwrites the candidate in the store, once it is there.
func (f *badFleet) damage(content string) {
	k := kv.Key(f.kind)
	row := f.Store.Get(f.Layout.Rollout(k))
	if row == nil || !strings.Contains(string(row.Value), e2e.Sum(content)) {
		return
	}
	path := f.Layout.HistoryData(k, decode(f.t, row).Version)
	if data := f.Store.Get(path); data != nil && string(data.Value) == content {
		f.Store.Put(path, "damaged", data.Flags)
	}
}

// revive brings nodes back that the version has killed or stopped.
func (f *badFleet) revive() {
	for i, d := range f.nodes {
		d.Signal(syscall.SIGCONT)
		if f.kind == "nodedies" && d.Ended() {
			f.nodes[i] = f.Agent(fmt.Sprintf("%s-%d", f.kind, i))
		}
	}
}

// all waits until all nodes have this content.
func (f *badFleet) all(content string) {
	f.t.Helper()
	for i := range badNodes {
		name := fmt.Sprintf("%s-%d", f.kind, i)
		e2e.Within(f.t, time.Minute, name+" has its version", func() bool {
			f.revive()
			return f.Read(name) == content
		})
	}
}

// had are the nodes whose check has seen a version.
func (f *badFleet) had(n int) (names []string) {
	for line := range strings.Lines(f.Read(f.kind + ".log")) {
		if name, number, _ := strings.Cut(strings.TrimSpace(line), " "); number == fmt.Sprint(n) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// pair is two hubs that are each other's peers.
type pair struct {
	x     *e2e.Site
	addrs []string
	hubs  [2]*e2e.Hub
}

func newPair(x *e2e.Site) *pair {
	x.T.Helper()
	p := &pair{x: x, addrs: []string{free(x.T), free(x.T)}}
	gate := x.Script("gate", "! grep -q gatefails\n")
	x.File("hub.yml", fmt.Sprintf("gates:\n  content: {run: [%s], timeout: 5s}\n", gate))
	for i := range p.hubs {
		p.start(i)
	}
	return p
}

func (p *pair) start(i int) {
	p.hubs[i] = p.x.Hub(fmt.Sprintf("hub-%d", i), "-C", p.x.Path("hub.yml"), "-p", p.x.Prefix, "-s", p.x.Store.Server.Addr,
		"--listen", p.addrs[i], "--peers", p.addrs[1-i])
}

// disturb kills a hub at a random moment, and starts it again at another.
func (p *pair) disturb() {
	i := rand.IntN(2)
	e2e.Pause(time.Duration(rand.IntN(3000)) * time.Millisecond)
	p.hubs[i].Kill()
	e2e.Pause(time.Duration(rand.IntN(5000)) * time.Millisecond)
	p.start(i)
}
