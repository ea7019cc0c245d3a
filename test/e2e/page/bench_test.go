//go:build linux

package page

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

const benchNodes = 5000

// BenchmarkPage prints the page's figures with 5,000 receipts, on Consul:
// go test ./test/e2e/page -run '^$' -bench Page -benchtime 1x -timeout 30m
func BenchmarkPage(b *testing.B) {
	store := consultest.Start(b, consultest.WithConfig(map[string]any{"limits": map[string]any{"http_max_conns_per_client": 5000}}))
	m := e2e.NewMachine(b, store.Addr)
	hub := m.Hub("hub")
	s := &site{Machine: m, hub: hub, store: store.Addr, url: "http://" + hub.Addr}
	s.publish(10)
	s.node("real", nil)
	s.reports()
	t := open(b, desk)
	t.open(s.url + "/key/hosts?sort=-version")
	t.becomes(fmt.Sprintf(said+"('of %d nodes') && document.querySelectorAll('canvas').length === 2", benchNodes+1))
	s.paint(b, t)
	s.update(b, t)
	s.tasks(b, t)
	s.load(b)
	s.sizes(b)
	b.ReportMetric(0, "ns/op")
}

// reports writes the receipts of all nodes for the live version.
func (s *site) reports() {
	s.T.Helper()
	m := s.manifest()
	var all sync.WaitGroup
	for part := range 8 {
		all.Go(func() {
			for i := part; i < benchNodes; i += 8 {
				put(s.T, s, fmt.Sprintf("web-%04d", i), has(m, outcome.Converged, time.Duration(50+i%100)*time.Millisecond))
			}
		})
	}
	all.Wait()
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// paint measures the first paint, beside a bare page of the same size.
func (s *site) paint(b *testing.B, t *tab) {
	html := s.hub.Get("/key/hosts?sort=-version")
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>bare</title>"+strings.Repeat("<p>word</p>", len(html)/11))
	}))
	defer bare.Close()
	paint, server := map[string][]float64{}, map[string][]float64{}
	for range 10 { // the first one warms up
		for name, url := range map[string]string{"page": s.url + "/key/hosts?sort=-version", "bare": bare.URL} {
			t.open(url)
			t.becomes("performance.getEntriesByName('first-contentful-paint').length === 1")
			paint[name] = append(paint[name], js[float64](t, "performance.getEntriesByName('first-contentful-paint')[0].startTime"))
			server[name] = append(server[name], js[float64](t, "(n => n.responseStart - n.requestStart)(performance.getEntriesByType('navigation')[0])"))
		}
	}
	page, plain := median(paint["page"][1:]), median(paint["bare"][1:])
	b.Logf("first paint, median of 9          %4.0f ms, a bare page of the same size %.0f ms: %.2f × (limit 150 ms)", page, plain, page/plain)
	b.Logf("of it the server                  %6.1f ms, of the bare page %.1f ms", median(server["page"][1:]), median(server["bare"][1:]))
}

// update measures from the moment when a node has a file to the moment when the page shows it.
func (s *site) update(b *testing.B, t *tab) {
	t.open(s.url + "/key/hosts?sort=-version")
	t.becomes("document.querySelectorAll('canvas').length === 2")
	t.do(chromedp.Evaluate[chromedp.Void](`new MutationObserver(() => {
		const row = document.querySelector('tr[data-id="real"]');
		if (window.want && row?.cells[2].innerText === window.want) {
			window.want = "";
			requestAnimationFrame(() => { window.shown = performance.timeOrigin + performance.now(); });
		}
	}).observe(document.getElementById("live"), {childList: true, subtree: true, characterData: true})`))
	var took []float64
	for i := range 5 {
		t.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("window.shown = 0; window.want = '%d'", s.manifest().Version+1)))
		s.publish(11 + i)
		t.becomes("window.shown > 0")
		installed, err := os.Stat(s.Path("real-hosts"))
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, js[float64](t, "window.shown")-float64(installed.ModTime().UnixMicro())/1000)
	}
	b.Logf("from the file to the screen       %4.0f ms, median of %.0f (limit 500 ms)", median(took), took)
}

// longest is the longest task of the browser that took over 50 ms, since the page was opened; 0: none did.
const longest = `Math.max(0, ...window.long)`

func (s *site) tasks(b *testing.B, t *tab) {
	watch := chromedp.Evaluate[chromedp.Void](`window.long = []; window.idle = false;
		new PerformanceObserver(l => long.push(...l.getEntries().map(e => e.duration))).observe({type: "longtask", buffered: true});
		requestIdleCallback(() => setTimeout(() => { window.idle = true; }, 100))`)
	var sorts, scrolls []float64
	for range 3 {
		for _, by := range []string{"node", "-delivered", "-outcome"} {
			t.open(s.url + "/key/hosts?sort=" + by)
			t.do(watch)
			t.becomes("window.idle && document.querySelectorAll('canvas').length === 2")
			sorts = append(sorts, js[float64](t, longest))
			t.do(chromedp.Evaluate[chromedp.Void](`window.long = []; window.steps = 0;
				(function step() { scrollBy(0, window.steps < 30 ? 100 : -100); if (++window.steps < 60) requestAnimationFrame(step); })()`))
			t.becomes("window.steps === 60")
			scrolls = append(scrolls, js[float64](t, longest))
		}
	}
	b.Logf("longest task over 50 ms, sorting  %4.0f ms, median of %.0f; 0: none (limit 50 ms)", median(sorts), sorts)
	b.Logf("longest task over 50 ms, scrolling %3.0f ms, median of %.0f", median(scrolls), scrolls)
}

// load measures the hub's share of a core while all nodes report a new version, without a page and with 20.
func (s *site) load(b *testing.B) {
	for i, pages := range []int{0, 20} {
		ctx, cancel := context.WithCancel(b.Context())
		var open sync.WaitGroup
		for range pages {
			open.Go(func() {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/live?at=/key/hosts", http.NoBody)
				if err != nil {
					b.Error(err)
					return
				}
				resp, err := (&http.Client{}).Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				defer resp.Body.Close()
				_, _ = io.Copy(io.Discard, resp.Body) // until ctx ends
			})
		}
		if pages == 0 {
			e2e.Pause(time.Minute + 5*time.Second) // the hub reads for so long after a page was closed
		}
		before, began := s.cpu(), time.Now()
		s.publish(30 + i)
		s.reports()
		took := time.Since(began)
		b.Logf("hub's CPU, %2d pages open          %4.1f %% of a core, while %d receipts came in %.1f s (limit 30 %%)", pages,
			100*(s.cpu()-before).Seconds()/took.Seconds(), benchNodes, took.Seconds())
		cancel()
		open.Wait()
	}
}

// cpu is what the hub has used, to 10 ms.
func (s *site) cpu() time.Duration {
	s.T.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.hub.Cmd.Process.Pid))
	if err != nil {
		s.T.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			s.T.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// sizes are what a browser loads for a page, and the program as it is released.
func (s *site) sizes(b *testing.B) {
	html := s.hub.Get("/key/hosts")
	var all bytes.Buffer
	z := gzip.NewWriter(&all)
	raw := 0
	for _, path := range append(regexp.MustCompile(`/assets/[^"]+`).FindAllString(html, -1), "/key/hosts") {
		body := s.hub.Get(path)
		raw += len(body)
		_, _ = io.WriteString(z, body) // a buffer takes all
	}
	_ = z.Close()
	b.Logf("a page with all files             %4d KB, compressed %d KB (limit 150 KB)", raw/1000, all.Len()/1000)
	program := filepath.Join(b.TempDir(), "kvexpress")
	cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "kvexpress/cmd/kvexpress")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	if at, err := os.Stat(program); err == nil {
		b.Logf("the program                       %4.1f MB (limit 16.5 MB)", float64(at.Size())/1e6)
	}
}
