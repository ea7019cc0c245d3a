package exporter_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/exporter"
	"kvexpress/internal/outcome"
)

// run runs the exporter until the function ends.
func (w *world) run(during func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.e.Run(ctx)
	}()
	synctest.Wait()
	during()
	cancel()
	<-done
}

// While the store is away the last numbers stay for five minutes, and not longer. Then
// it comes back.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.report("web-1", w.publish("hosts"))
		w.run(func() {
			w.wants(w.scrape(), 1, "nodes", "key=hosts", "outcome=converged")
			w.store.away.Store(true)
			pass(30 * time.Second)
			f := w.scrape()
			w.wants(f, 0, "up")
			w.wants(f, 1, "nodes", "key=hosts", "outcome=converged")
			if age, _ := f.find("last_scan_age_seconds"); age < 15 || age > 31 {
				t.Errorf("the last look was %v s ago", age)
			}
			pass(5 * time.Minute)
			f = w.scrape()
			w.wants(f, 0, "up")
			w.lacks(f, "nodes")
			w.lacks(f, "receipts")
			if age, _ := f.find("last_scan_age_seconds"); age < 300 {
				t.Errorf("the last look was %v s ago", age)
			}
			if err := w.e.Ready(); err != nil {
				t.Errorf("it is not ready any more: %v", err)
			}
			if err := w.e.Healthy(); err != nil {
				t.Error(err)
			}
			w.store.away.Store(false)
			w.report("web-1", w.has("hosts"))
			pass(31 * time.Second)
			f = w.scrape()
			w.wants(f, 1, "up")
			w.wants(f, 1, "nodes", "key=hosts", "outcome=converged")
		})
	})
}

// No retry comes faster than after a second, and none later than after 31.
func TestRetriesAreNotABusyLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.away.Store(true)
		w.run(func() { pass(10 * time.Minute) })
		all := w.store.asked()
		if n := len(all); n < 20 || n > 60 {
			t.Errorf("%d tries in ten minutes", n)
		}
		gaps(t, all, time.Second, 31*time.Second)
		if late := all[len(all)-1].Sub(all[len(all)-6]); late < 20*time.Second {
			t.Errorf("the last five tries came within %v: there is no backoff", late)
		}
	})
}

func gaps(t *testing.T, at []time.Time, least, most time.Duration) {
	t.Helper()
	for i := 1; i < len(at); i++ {
		if gap := at[i].Sub(at[i-1]); gap < least || gap > most {
			t.Errorf("look %d came %v after the one before", i, gap)
		}
	}
}

// A fleet that reports all the time is looked at every few seconds, and one at rest every
// 15.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		have := w.publish("hosts")
		w.report("web-1", have)
		w.run(func() {
			pass(5 * time.Minute)
			rest := len(w.store.asked())
			if rest < 19 || rest > 25 {
				t.Errorf("%d looks in five minutes without a change", rest)
			}
			for range 600 {
				w.report("web-1", have)
				pass(100 * time.Millisecond)
			}
			if busy := len(w.store.asked()) - rest; busy < 8 || busy > 14 {
				t.Errorf("%d looks in a minute full of changes", busy)
			}
		})
		gaps(t, w.store.asked(), 4*time.Second, 20*time.Second)
	})
}

// A change shows before the time is up.
func TestChangesShowSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *exporter.Options) { o.Every = 2 * time.Minute })
		w.report("web-1", w.publish("hosts"))
		w.run(func() {
			pass(time.Minute)
			w.report("web-1", in(w.has("hosts"), outcome.Pending, 0))
			synctest.Wait()
			w.wants(w.scrape(), 1, "nodes", "key=hosts", "outcome=pending")
		})
	})
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	h := w.e.Handler()
	get := func(method, path string) (int, string) {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
		return r.Code, r.Body.String()
	}
	w.store.away.Store(true)
	_ = w.e.Once(t.Context())
	if code, body := get("GET", "/readyz"); code != 503 || !strings.Contains(body, "reached") {
		t.Errorf("readyz: %d %s", code, body)
	}
	w.store.away.Store(false)
	w.look()
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n", "/metrics": "\nkvexpress_fleet_up 1\n"} {
		if code, body := get("GET", path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := get("GET", "/"); code != 404 || !strings.Contains(body, "/metrics") {
		t.Errorf("/: %d %s", code, body)
	}
	if code, _ := get("POST", "/metrics"); code != 405 {
		t.Errorf("POST: %d", code)
	}
}

// A look that hangs is noticed.
func TestHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pass(time.Minute)
		if err := w.e.Healthy(); err != nil {
			t.Error(err)
		}
		pass(time.Minute)
		if err := w.e.Healthy(); err == nil {
			t.Error("nothing has happened for two minutes, and it is healthy")
		}
	})
}
