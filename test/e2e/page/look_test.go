//go:build linux

package page

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// wide are the elements that reach out of the window or scroll sideways.
// A phone shows a page that is too wide in a wider window, so innerWidth does not count.
const wide = `[...document.querySelectorAll('html, main, main *')].filter(e => e.localName !== 'canvas' && !e.closest('.hide') &&
	(e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 ||
		e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)))
	.map(e => e.localName + '.' + e.className + ' ' + e.textContent.slice(0, 40)).slice(0, 5).join('; ')`

// fits fails the test if a part of the page is wider than the window.
func (b *tab) fits(where string) {
	b.t.Helper()
	if too := js[string](b, wide); too != "" || js[bool](b, "document.documentElement.scrollWidth > document.documentElement.clientWidth") {
		b.t.Errorf("%s: too wide: %s", where, too)
	}
}

// pale are the texts whose contrast is too low for WCAG AA, and how many texts there are.
const pale = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
	const lum = (c) => [0.2126, 0.7152, 0.0722].reduce((l, w, i) => {
		const v = c[i] / 255;
		return l + w * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
	}, 0);
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } };
	const found = new Set();
	let count = 0;
	const judge = (e, pseudo, text) => {
		const s = getComputedStyle(e, pseudo), a = lum(parse(s.color)), b = lum(behind(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(s.fontSize);
		count++;
		if (ratio < (size >= 24 || size >= 18.66 && s.fontWeight >= 700 ? 3 : 4.5)) found.add(ratio.toFixed(2) + ' ' + e.localName + '.' + e.className + ' ' + text.slice(0, 30));
	};
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = texts.nextNode();) if (n.data.trim() && n.parentElement.checkVisibility()) judge(n.parentElement, null, n.data);
	for (const e of document.querySelectorAll('input[placeholder]')) judge(e, '::placeholder', e.placeholder);
	for (const e of document.querySelectorAll('main *')) if (getComputedStyle(e, '::before').content !== 'none') judge(e, '::before', e.textContent);
	return count + ' ' + [...found].join('; ');
})()`

// looks checks a page in narrow and wide windows, light and dark: it fits, and its texts can be read. It saves pictures for people.
func (b *tab) looks(name string) {
	b.t.Helper()
	for device, size := range map[string][2]int64{"desk": desk, "phone": phone} {
		b.size(size)
		for _, scheme := range []string{"light", "dark"} {
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
				b.t.Fatal(err)
			}
			where := strings.Join([]string{name, device, scheme}, "-")
			if dark := js[bool](b, "matchMedia('(prefers-color-scheme: dark)').matches"); dark != (scheme == "dark") {
				b.t.Fatalf("%s: the browser shows the other colors", where)
			}
			var texts int
			found := js[string](b, pale)
			if _, err := fmt.Sscan(found, &texts); err != nil || texts < 10 || !strings.HasSuffix(found, " ") {
				b.t.Errorf("%s: texts that are hard to read: %s", where, found)
			}
			b.fits(where)
			b.shot(where)
		}
		b.tabs(name + "-" + device)
	}
}

// controls are all that can have the focus, in the order in which they stand in the page.
const controls = `[...document.querySelectorAll('a[href], button, input:not([type=hidden])')].filter(e => e.checkVisibility())`

// tabs goes through a page with the Tab key: every control gets the focus, in reading order, and shows it.
func (b *tab) tabs(where string) {
	b.t.Helper()
	count := js[int](b, "(window.all = "+controls+").length")
	for !js[bool](b, "document.activeElement === document.body") { // from the end of the page, the first one follows
		b.do(chromedp.Evaluate[chromedp.Void]("all.at(-1).focus()"), chromedp.KeyEvent("\t"))
	}
	last := [2]float64{-1, -1}
	for i := range min(count, 40) {
		b.do(chromedp.KeyEvent("\t"))
		type focused struct {
			At      int        `json:"at"`
			Text    string     `json:"text"`
			Place   [2]float64 `json:"place"`
			Visible bool       `json:"visible"`
		}
		f := js[focused](b, `(() => {
			const e = document.activeElement, s = getComputedStyle(e), r = e.getClientRects()[0];
			return {at: all.indexOf(e), text: e.outerHTML.slice(0, 80), place: [r.left + scrollX, r.top + scrollY],
				visible: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && r.bottom > 0 && r.top < innerHeight};
		})()`)
		switch {
		case f.At != i:
			b.t.Errorf("%s: Tab %d leads to control %d, %s", where, i+1, f.At, f.Text)
			return
		case !f.Visible:
			b.t.Errorf("%s: no visible focus on %s", where, f.Text)
		case i > 1 && (f.Place[1] < last[1]-12 || f.Place[1] < last[1]+12 && f.Place[0] < last[0]):
			b.t.Errorf("%s: Tab leads back, from %v to %v, %s", where, last, f.Place, f.Text)
		}
		last = f.Place
	}
	if count < 5 {
		b.t.Errorf("%s: %d controls", where, count)
	}
}

// Every view fits a phone and a desk, reads in light and dark, and works by keyboard; with long names, failures, a stop and a rollout, too.
func TestLook(t *testing.T) {
	s := start(t)
	s.publish(10)
	s.Ok("policy", "set", "-k", "hosts", "-f", s.File("policy.yml", "stages: [{count: 1}, {share: 100%, pause: before}]\n"))
	m := s.manifest()
	for i, o := range outcome.All() {
		x := has(m, o.Outcome, 50*time.Millisecond)
		if o.Outcome != outcome.Converged {
			x.Version, x.SHA256 = 0, ""
			x.Detail = strings.Repeat("cannot write /etc/hosts: no space left on device; ", 4) + strings.Repeat("x", 100)
		}
		s.report(fmt.Sprintf("web-%d.%s.example.org", i, strings.Repeat("long", i)), time.Duration(i%2)*24*time.Hour, x,
			fleet.Target{By: fleet.ByAgent, Key: "dns/" + strings.Repeat("zone", 40), File: "/etc/" + strings.Repeat("zone", 40), Outcome: outcome.Converged})
	}
	s.node("real", nil)
	b := open(t, desk)
	b.open(s.url + "/key/hosts")
	b.becomes(said + "('real')")
	next := s.File("next", e2e.Text("next", 12)+strings.Repeat("wide", 100)+"\n")
	s.Start("in", e2e.Program.Path, "in", "-k", "hosts", "-f", next, "-l", "1", "-m", strings.Repeat("why", 60), "--hub", s.hub.Addr)
	b.becomes(said + "('Rollout of version 2: paused') && document.querySelector('a[href=\"#pictures\"]') !== null")
	b.looks("key")
	s.Ok("rollout", "abort", "-k", "hosts", "-r", "enough")
	s.Ok("in", "-k", "hosts", "-f", next, "-l", "1", "--now", "-m", strings.Repeat("why", 60))
	s.Ok("stop", "-k", "hosts", "-r", strings.Repeat("looking into it ", 10))
	for name, path := range map[string]string{"fleet": "/fleet", "nodes": "/nodes", "node": "/search?q=web-1.long.example.org", "token": "/login",
		"history": "/history/hosts?from=1&to=3", "none": "/key/none"} {
		b.open(s.url + path)
		b.becomes("document.querySelector('h1') !== null")
		b.looks(name)
	}
	b.open(s.url + "/fleet")
	b.becomes(said + "('looking into it')")
	b.do(chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"), chromedp.KeyEvent("\t"))
	if at := js[string](b, "document.activeElement.closest('#live')?.id ?? document.activeElement.outerHTML"); at != "live" {
		t.Errorf("the link that skips to the content leads to %s", at)
	}
}
