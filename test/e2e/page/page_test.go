//go:build linux

package page

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/store/consul"
	"kvexpress/test/e2e"
)

// site is a hub, and a machine that uses it.
type site struct {
	*e2e.Machine
	hub   *e2e.Hub
	store string // host:port
	url   string
	kv    kv.Store
}

// open opens the site's store.
func (s *site) open() kv.Store {
	s.T.Helper()
	if s.kv == nil {
		store, err := consul.New(consul.Options{Addr: s.store})
		if err != nil {
			s.T.Fatal(err)
		}
		s.kv = store
	}
	return s.kv
}

// start runs a hub with an embedded store.
func start(t testing.TB) *site {
	t.Helper()
	hub := e2e.NewMachine(t, "127.0.0.1:1").Hub("hub", "--dev")
	return &site{Machine: e2e.NewMachine(t, hub.Addr), hub: hub, store: hub.Addr, url: "http://" + hub.Addr}
}

// startFleet is a site whose nodes web-0, web-1, … have the first version of hosts.
func startFleet(t *testing.T, nodes int) *site {
	t.Helper()
	s := start(t)
	for i := range nodes {
		s.node(fmt.Sprintf("web-%d", i), nil)
	}
	s.publish(10, "--wait", "100%")
	return s
}

// node runs the agent of a node, with the file of hosts.
func (s *site) node(name string, more e2e.Fields) {
	s.T.Helper()
	target := e2e.Fields{"key": "hosts", "file": s.Path(name + "-hosts"), "min_lines": 1}
	for k, v := range more {
		target[k] = v
	}
	s.Configure(name, e2e.Fields{"node": name, "hubs": []string{s.hub.Addr}, "stores": []string{s.store}}, target)
	s.Agent(name)
}

// publish publishes a file as hosts.
func (s *site) publish(lines int, args ...string) {
	s.T.Helper()
	s.Ok(append([]string{"in", "-k", "hosts", "-f", s.File(fmt.Sprintf("in-%d", lines), e2e.Text("host", lines)), "-l", "1"}, args...)...)
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

const said = "document.body.innerText.includes"

// named fails the test if the accessibility tree has a control without a name.
func (b *tab) named() {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	controls := 0
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil || !slices.Contains([]string{"link", "button", "searchbox", "textbox", "image", "table", "navigation"},
			strings.Trim(string(n.Role.Value), `"`)) {
			continue
		}
		controls++
		if n.Name == nil || len(strings.Trim(string(n.Name.Value), `" `)) == 0 {
			b.t.Errorf("a %s has no name", n.Role.Value)
		}
	}
	if controls < 5 {
		b.t.Errorf("only %d controls were found", controls)
	}
}

// What happens in the fleet is on the page a moment later, and the page is not loaded again.
func TestArrival(t *testing.T) {
	for name, size := range map[string][2]int64{"desk": desk, "phone": phone} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			b := open(t, size)
			b.open(s.url + "/")
			b.becomes(said + "('Nothing is published')")
			b.named()
			for i := range 3 {
				s.node(fmt.Sprintf("web-%d", i), nil)
			}
			s.publish(10, "-m", "the first one", "--wait", "100%")
			b.do(chromedp.Evaluate[chromedp.Void]("window.mark = 1"))
			b.becomes(said + "('3 of 3')")
			b.do(chromedp.Click(chromedp.CSS("tbody a")))
			b.becomes("location.pathname === '/key/hosts' && " + said + "('the first one')")
			b.do(chromedp.Evaluate[chromedp.Void]("window.mark = 2"))
			s.publish(11, "-m", "the second one", "--wait", "100%")
			b.becomes(said + "('the second one') && " + said + "('3 of 3 nodes')")
			b.becomes("document.querySelectorAll('canvas').length === 2 && " + said + "('3 of 3 nodes')")
			b.becomes(said + "('version 2 is solid')")
			b.named()
			b.shot(name + "-key")
			s.Ok("stop", "-k", "hosts", "-r", "looking into a DNS problem")
			b.becomes("document.querySelector('[role=alert]')?.innerText.includes('looking into a DNS problem')")
			b.shot(name + "-stopped")
			if js[int](b, "window.mark") != 2 {
				t.Error("the page was loaded again")
			}
			b.fits(name + ", stopped")
			b.do(chromedp.Focus(chromedp.CSS("input[type=search]")), chromedp.SendKeys(chromedp.CSS("input[type=search]"), "web-1\r"))
			b.becomes("location.pathname === '/node/web-1' && " + said + "('connected')")
			b.named()
			b.shot(name + "-node")
			b.open(s.url + "/history/hosts?from=1&to=2")
			b.becomes(said + "('the first one') && document.querySelector('.diff .add') !== null")
			b.shot(name + "-history")
			s.hub.Kill()
			b.becomes(said + "('No answer from the hub')")
			b.shot(name + "-stale")
		})
	}
}

// A node that fails stands out with the reason and the output of its command. Texts of it run no script, whatever they say.
func TestHostileNode(t *testing.T) {
	s := start(t)
	s.node("web-0", nil)
	s.node("web-1", e2e.Fields{"exec": []string{"sh", "-c",
		"echo '<script>document.title=1</script><img src=x onerror=document.title=2>'; exit 3"}})
	s.publish(10, "-m", `"><script>document.title=3</script>`)
	name := strings.Repeat("long", 50)
	put(t, s, name, fleet.Target{By: fleet.ByAgent, Key: "hosts", File: `/etc/"><script>document.title=5</script>`, Outcome: outcome.Failed,
		Detail: `<svg onload=document.title=6>`})
	b := open(t, phone)
	b.open(s.url + "/key/hosts")
	b.becomes(said + "('exec pending') && " + said + "('<svg onload=document.title=6>') && " + said + "('<img src=x onerror=document.title=2>')")
	for _, path := range []string{"/fleet", "/nodes", "/history/hosts", "/node/" + url.PathEscape(name), "/node/web-1", "/key/hosts"} {
		b.open(s.url + path)
		b.becomes("document.querySelector('#live h1') !== null")
		s.Ok("stop", "-k", "hosts", "-r", "now "+path+`<img src=x onerror=document.title=7>`, "--replace") // a live update
		if path == "/key/hosts" || path == "/fleet" {
			b.becomes(said + "('now " + path + "')")
		}
		if title := js[string](b, "document.title"); len(title) < 5 {
			t.Errorf("%s: a script ran and set the title to %s", path, title)
		}
		if n := js[int](b, "document.querySelectorAll('main img, main script, main svg').length"); n > 0 {
			t.Errorf("%s has %d elements from outside", path, n)
		}
		b.fits(path)
	}
	b.shot("hostile")
}

// put writes the receipt of a node as any program with a token can.
func put(t testing.TB, s *site, node string, targets ...fleet.Target) {
	t.Helper()
	s.report(node, 0, targets...)
}

// report is put for a node whose clock is ahead of the store's.
func (s *site) report(node string, ahead time.Duration, targets ...fleet.Target) {
	t := s.T
	t.Helper()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	ms := ahead.Milliseconds()
	r := fleet.Receipt{Format: fleet.Format, Node: node, Sent: time.Now().Add(ahead), ClockOffset: &ms, Targets: targets,
		Agent: &fleet.Agent{Version: "2.0", Every: fleet.Millis(time.Hour)}}
	value, flags, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.open().Put(t.Context(), layout.Node(node), value, flags); err != nil {
		t.Fatal(err)
	}
}

// 5,000 nodes read, sort and scroll well.
func TestManyNodes(t *testing.T) {
	s := start(t)
	s.publish(10)
	manifest := s.manifest()
	many := 5000
	if testing.Short() {
		many = 500
	}
	s.Ok("in", "-k", "broken", "-f", s.File("broken", "1\n"), "-l", "1")
	for i := range many {
		took := time.Duration(50+i%100) * time.Millisecond
		o := outcome.Converged
		if i%1000 == 7 {
			o, took = outcome.Pending, 3*time.Second
		}
		put(t, s, fmt.Sprintf("web-%04d", i), has(manifest, o, took),
			fleet.Target{By: fleet.ByAgent, Key: "broken", File: "/etc/broken", Outcome: outcome.Failed, Detail: strings.Repeat("no space left ", 20)})
	}
	b := open(t, desk)
	b.open(s.url + "/key/hosts")
	b.becomes(fmt.Sprintf(said+"('of %d nodes')", many))
	b.becomes("document.querySelectorAll('tbody tr').length === 100 && document.querySelectorAll('canvas').length === 2")
	b.becomes("document.querySelector('tbody tr').innerText.includes('exec pending')")
	b.do(chromedp.Click(chromedp.CSS("a[rel=next]")))
	b.becomes(said + "('101 to 200') && document.querySelectorAll('canvas').length === 2")
	b.shot("many")
	b.open(s.url + "/key/broken?page=9999")
	b.becomes(fmt.Sprintf(said+"('0 of %d nodes') && "+said+"('%d failed') && "+said+"('to %d of')", many, many, many))
	b.becomes("document.querySelectorAll('tbody tr').length === 100")
	b.fits("all fail")
}

// has is a file with a version, delivered after a time.
func has(m kv.Manifest, o outcome.Outcome, took time.Duration) fleet.Target {
	return fleet.Target{By: fleet.ByAgent, Key: string(m.Key), File: "/etc/" + string(m.Key), Outcome: o, ExecPending: o == outcome.Pending,
		Version: m.Version, Lineage: m.Lineage, SHA256: m.SHA256,
		Placed: &fleet.Placed{Age: fleet.Millis(max(0, time.Since(m.PublishedAt)-took)), Steps: fleet.Steps{Install: fleet.Millis(took)}}}
}

// manifest is the manifest of hosts.
func (s *site) manifest() kv.Manifest {
	s.T.Helper()
	rows, err := s.open().Read(s.T.Context(), kv.Default, "kvexpress/hosts/manifest")
	if err != nil {
		s.T.Fatal(err)
	}
	m, err := kv.ParseManifest(rows["kvexpress/hosts/manifest"].Value)
	if err != nil {
		s.T.Fatal(err)
	}
	return m
}
