//go:build linux

package page

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"kvexpress/test/e2e"
)

// stepLimit is how long one step in a browser may take.
const stepLimit = 30 * time.Second

// Widths and heights of the window.
var (
	desk  = [2]int64{1280, 800}
	phone = [2]int64{390, 844}
)

// tab is one page in a browser.
type tab struct {
	t   testing.TB
	ctx context.Context
}

// open starts a browser. A script that fails, or that the policy of the page blocks, fails the test.
func open(t testing.TB, size [2]int64) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no chromium")
	}
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir())})
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	b := &tab{t, ctx}
	if err := chromedp.Do(ctx); err != nil { // the browser outlives the time limit of a step
		t.Fatal(err)
	}
	said, done := chromedp.Console(ctx), make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range said {
			if err == nil && m.Source != "network" && (m.IsException() || m.Type == chromedp.ConsoleError) {
				t.Errorf("the console says: %s", m)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	b.size(size)
	return b
}

// size sets the size of the window.
func (b *tab) size(to [2]int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(to[0], to[1], func(m *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
		m.Mobile = to == phone
	}))
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// get is the result of an action.
func get[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// js is the value of a JavaScript expression.
func js[T any](b *tab, expression string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](expression))
}

// becomes waits until a JavaScript expression is true. The page may be loaded in between.
func (b *tab) becomes(expression string) {
	b.t.Helper()
	limit := time.Now().Add(2 * time.Minute)
	e2e.Eventually(b.t, expression, func() bool {
		if time.Now().After(limit) {
			b.t.Fatalf("the page does not become %s:\n%s", expression, js[string](b, "document.body?.innerText ?? ''"))
		}
		ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
		defer cancel()
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("document.body !== null && Boolean("+expression+")"))
		return err == nil && is
	})
}

// shot saves a picture of the whole page in the folder of KVEXPRESS_SHOTS, for people.
func (b *tab) shot(name string) {
	b.t.Helper()
	b.save(name, chromedp.FullScreenshot(100))
}

// window is shot for what is in the window.
func (b *tab) window(name string) {
	b.t.Helper()
	b.save(name, chromedp.CaptureScreenshot())
}

func (b *tab) save(name string, picture chromedp.Action[[]byte]) {
	b.t.Helper()
	dir := os.Getenv("KVEXPRESS_SHOTS")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), get(b, picture), 0o644); err != nil {
		b.t.Fatal(err)
	}
}
