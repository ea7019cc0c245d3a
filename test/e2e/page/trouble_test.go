//go:build linux

package page

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// mark notes the page, which unmarked then knows again: it was not loaded anew.
func (b *tab) mark() {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void]("window.marked = true"))
}

func (b *tab) marked() {
	b.t.Helper()
	if !js[bool](b, "window.marked === true") {
		b.t.Error("the page was loaded again")
	}
}

// Without the store, the page shows how the fleet was, and says so. With it, the page is current again by itself.
func TestStoreAway(t *testing.T) {
	store, m := e2e.Start(t, consultest.WithData())
	hub := m.Hub("hub")
	s := &site{Machine: m, hub: hub, store: store.Server.Addr, url: "http://" + hub.Addr}
	s.node("web-0", nil)
	s.publish(10, "--wait", "100%")
	pages := map[string]*tab{}
	for path, words := range map[string]string{"/fleet": "1 of 1", "/key/hosts": "1 of 1 node", "/node/web-0": "converged"} {
		b := open(t, desk)
		b.open(s.url + path)
		b.becomes(said + "('" + words + "')")
		b.mark()
		pages[path] = b
	}
	store.Server.Stop()
	for path, b := range pages {
		b.becomes("document.getElementById('link').innerText.includes('The hub cannot read the store')")
		if !js[bool](b, said+"('web-0') || "+said+"('1 of 1')") {
			t.Errorf("%s: the last state is not shown: %s", path, js[string](b, "document.body.innerText"))
		}
		b.fits(path)
		b.shot("away")
	}
	store.Server.Restart()
	s.publish(11, "-m", "after the outage", "--wait", "100%")
	for path, b := range pages {
		b.becomes("document.getElementById('link').hidden")
		if path == "/key/hosts" {
			b.becomes(said + "('after the outage') && " + said + "('1 of 1 node')")
		}
		b.marked()
	}
}

// A clock that is a day off is named. It makes no delivery time of a day.
func TestClocks(t *testing.T) {
	s := start(t)
	s.publish(10)
	m := s.manifest()
	day := 24 * time.Hour
	for node, ahead := range map[string]time.Duration{"web-0": 0, "web-1": day, "web-2": -day} {
		s.report(node, ahead, has(m, outcome.Converged, 50*time.Millisecond))
	}
	b := open(t, desk)
	b.open(s.url + "/key/hosts")
	b.becomes(said + "('3 of 3 nodes') && " + said + "('The clock of web-1 is 1d ahead') && " + said + "('The clock of web-2 is 1d behind')")
	b.becomes("document.querySelectorAll('canvas').length === 2")
	b.do(chromedp.Evaluate[chromedp.Void]("fetch('/points/hosts').then(r => r.json()).then(p => window.points = p)"))
	b.becomes("window.points")
	if most := js[float64](b, "Math.max(...points.publishes.flatMap(s => s.ms), ...points.curve.ms)"); most <= 0 || most > 600_000 {
		t.Errorf("a dot is %.0f ms high", most)
	}
	b.open(s.url + "/nodes?sort=-clock")
	b.becomes(said + "('1d ahead') && " + said + "('1d behind')")
	b.open(s.url + "/node/web-1")
	b.becomes(said + "('its clock is 1d ahead')")
}

// A rollout that goes back does so before one's eyes: its stage, the node that failed, the output of its command, and the end.
func TestReverted(t *testing.T) {
	s := start(t)
	for i := range 3 {
		s.node(fmt.Sprintf("web-%d", i), e2e.Fields{"exec": []string{"sh", "-c", "! grep host-12 $1 || { echo dnsmasq: bad line 12; exit 3; }", "sh", "{file}"}})
	}
	s.publish(10, "--wait", "100%")
	s.Ok("policy", "set", "-k", "hosts", "--stages", "1,100%")
	b := open(t, desk)
	b.open(s.url + "/key/hosts")
	b.becomes(said + "('3 of 3 nodes')")
	b.mark()
	in := s.Start("in", e2e.Program.Path, "in", "-k", "hosts", "-f", s.File("bad", e2e.Text("host", 20)), "-l", "1", "--hub", s.hub.Addr)
	e2e.Eventually(t, "in ends", in.Ended)
	ended := time.Now()
	b.becomes(said + "('Rollout of version 2: reverted') && " + said + "('3 of 3 nodes')")
	t.Logf("on the page %v after the end of in", time.Since(ended).Round(time.Millisecond))
	b.becomes("[...document.querySelectorAll('.rollout .bad')].some(p => /web-. failed: exec/.test(p.innerText) && p.innerText.includes('dnsmasq: bad line 12'))")
	if rows := js[int](b, "document.querySelectorAll('.rollout tbody tr').length"); rows != 2 {
		t.Errorf("%d stages, want 2", rows)
	}
	b.marked()
	b.looks("reverted")
}
