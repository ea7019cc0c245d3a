package hub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

func options(t *testing.T, change func(*Options)) Options {
	t.Helper()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	o := Options{
		Listen: "127.0.0.1:0", MaxConnsPerClient: 200, Log: log,
		Metrics: MetricsOptions{Store: embedded.New(), Layout: layout, Every: 15 * time.Second, Expiry: time.Hour, Log: log},
	}
	change(&o)
	return o
}

// running runs a hub until the test ends. get returns a status and a body.
func running(t *testing.T, change func(*Options)) (get func(method, path, token string) (int, string)) {
	t.Helper()
	h, err := Open(options(t, change))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return func(method, path, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.Address()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

// Both kinds of hub answer monitors on the same paths. Only one with an embedded store has Consul's API.
func TestPages(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Options)
		root   string // in the answer to /
	}{
		"over Consul":  {func(*Options) {}, "/metrics"},
		"with a store": {func(o *Options) { o.Memory = true }, "Consul's HTTP API"},
	} {
		t.Run(name, func(t *testing.T) {
			get := running(t, tt.change)
			for code := 0; code != 200; {
				code, _ = get("GET", "/readyz", "")
			}
			for path, want := range map[string]string{"/healthz": "ok\n", "/metrics": "\nkvexpress_fleet_up 1\n"} {
				if code, body := get("GET", path, ""); code != 200 || !strings.Contains(body, want) {
					t.Errorf("%s: %d %s", path, code, body)
				}
			}
			if code, _ := get("POST", "/metrics", ""); code != 405 {
				t.Errorf("POST: %d", code)
			}
			if _, body := get("GET", "/v1/status/leader", ""); strings.Contains(body, "127.0.0.1:") != (name == "with a store") {
				t.Errorf("/v1/status/leader: %s", body)
			}
			if _, body := get("GET", "/", ""); !strings.Contains(body, tt.root) {
				t.Errorf("/: %s", body)
			}
		})
	}
}

// A browser gets the web page at /, under the names of this machine only.
func TestWebPage(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"over Consul": func(*Options) {}, "with a store": func(o *Options) { o.Memory = true },
	} {
		h, err := Open(options(t, change))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		for host, want := range map[string]int{"localhost": 200, h.Address(): 200, "evil.example": 403, "evil.example:8610": 403} {
			for _, path := range []string{"/", "/fleet", "/nodes", "/live?at=/none", "/login", "/assets/page.js"} {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.Address()+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = host
				req.Header.Set("Accept", "text/html")
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if got := resp.StatusCode; got != want && (path != "/" || want != 200 || got != http.StatusSeeOther) {
					t.Errorf("%s, %s of %s: %d, want %d", name, path, host, got, want)
				}
				_ = resp.Body.Close()
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A hub that has read nothing yet is not ready, and says why.
func TestNotReady(t *testing.T) {
	h := &Hub{o: options(t, func(*Options) {})}
	store := &shaky{Store: embedded.New()}
	h.o.Metrics.Store = store
	m := NewMetrics(h.o.Metrics)
	if err := m.ready(); err == nil || !strings.Contains(err.Error(), "first scan") {
		t.Errorf("before the first scan: %v", err)
	}
	store.down.Store(true)
	_ = m.Once(t.Context())
	if err := m.ready(); !errors.Is(err, kv.ErrUnreachable) || !strings.Contains(m.status(), "cannot read") {
		t.Errorf("with an unreachable store: %v; %s", err, m.status())
	}
	store.down.Store(false)
	_ = m.Once(t.Context())
	if err := m.ready(); err != nil {
		t.Error(err)
	}
}

// With tokens, the metrics are for tokens that may read keys and receipts. Health is for everyone.
func TestMetricsNeedAToken(t *testing.T) {
	const may, other = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "0d1f2a3b-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	tokens := filepath.Join(t.TempDir(), "tokens.hcl")
	if err := os.WriteFile(tokens, []byte(`
token "`+may+`" {
  name = "prometheus"
  key_prefix "kvexpress/" { policy = "read" }
  key_prefix "kvexpress-nodes/" { policy = "read" }
}
token "`+other+`" {
  name = "node"
  key_prefix "kvexpress/hosts/" { policy = "read" }
}`), 0o600); err != nil {
		t.Fatal(err)
	}
	get := running(t, func(o *Options) { o.Memory, o.Files.Tokens = true, tokens })
	for _, tt := range []struct {
		path, token string
		code        int
		body        string
	}{
		{"/metrics", may, 200, "kvexpress_fleet_up"},
		{"/metrics", other, 403, "acl hub"},
		{"/metrics", "", 403, "acl hub"},
		{"/metrics", "nonsense", 403, "ACL not found"},
		{"/healthz", "", 200, "ok"},
	} {
		if code, body := get("GET", tt.path, tt.token); code != tt.code || !strings.Contains(body, tt.body) {
			t.Errorf("%s with %q: %d %s", tt.path, tt.token, code, body)
		}
	}
}

// A second hub on a folder fails before it listens: it would answer from a store that it does not have.
func TestTheStoreIsOpenedBeforeTheListener(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	running(t, func(o *Options) { o.DataDir = data })
	second := options(t, func(o *Options) { o.DataDir, o.Listen = data, "no address" })
	if _, err := Open(second); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the second one: %v", err)
	}
}

// Nothing stays open after an error: the folder can be opened again.
func TestOpenFailsClean(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if _, err := Open(options(t, func(o *Options) { o.DataDir, o.Listen = data, "0.0.0.0:0" })); err == nil {
		t.Fatal("it serves a store to everyone")
	}
	running(t, func(o *Options) { o.DataDir = data })
}
