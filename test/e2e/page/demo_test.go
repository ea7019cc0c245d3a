//go:build linux

package page

import (
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"kvexpress/test/e2e"
)

// The demo prints the address of its page, which tells the story while it runs. The picture of README is made here:
// KVEXPRESS_SHOTS=$PWD/docs go test ./test/e2e/page -run TestDemo
func TestDemo(t *testing.T) {
	m := e2e.NewMachine(t, "127.0.0.1:1")
	b := open(t, desk)
	d := m.Start("demo", e2e.Program.Path, "demo", "--keep", "--nodes", "40")
	var at string
	e2e.Eventually(t, "the demo prints an address", func() bool {
		at = regexp.MustCompile(`http://[0-9.:]+/key/hosts`).FindString(d.Said())
		return at != ""
	})
	e2e.Eventually(t, "the key is reported", func() bool {
		b.do(chromedp.Navigate(at))
		return strings.Contains(js[string](b, "document.body?.innerText ?? ''"), "40 nodes")
	})
	e2e.Eventually(t, "the demo has told all", func() bool { return strings.Contains(d.Said(), "All checks passed") })
	b.becomes(said + "('40 of 40 nodes') && " + said + "('older publishes are hollow') && " + said + "('Rollout of version 5: reverted')")
	b.window("page")
}
