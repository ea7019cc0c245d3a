package observe_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"kvexpress/internal/observe"
)

const (
	apiKey = "api-0123456789abcdef"
	appKey = "app-fedcba9876543210"
)

type event struct {
	Title     string   `json:"title"`
	Text      string   `json:"text"`
	AlertType string   `json:"alert_type"`
	Tags      []string `json:"tags"`
	Host      string   `json:"host"`
	Date      int64    `json:"date_happened"`
}

func newEvents(t *testing.T, host string) *observe.Events {
	t.Helper()
	e, err := observe.NewEvents(observe.EventOptions{APIKey: apiKey + "\n", AppKey: appKey, DatadogHost: host, Host: "web1",
		Direction: "in"})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Enabled() {
		t.Fatal("events are not enabled")
	}
	return e
}

// posted returns the one event that use posts.
func posted(t *testing.T, use func(context.Context, *observe.Events) error) event {
	t.Helper()
	requests := make(chan event, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPost || r.RequestURI != "/api/v1/events" {
			t.Errorf("got %s %s", r.Method, r.RequestURI)
		}
		if r.Header.Get("DD-API-KEY") != apiKey || r.Header.Get("DD-APPLICATION-KEY") != appKey {
			t.Error("the headers do not hold the keys")
		}
		r.Header.Del("DD-API-KEY")
		r.Header.Del("DD-APPLICATION-KEY")
		for name, rest := range map[string]string{"URL": r.RequestURI, "body": string(body),
			"other headers": strings.Join(headerValues(r.Header), " ")} {
			if leaks(rest) {
				t.Errorf("the %s holds a key", name)
			}
		}
		var got event
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("the body is not JSON: %v", err)
		}
		requests <- got
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	if err := use(t.Context(), newEvents(t, server.URL+"/")); err != nil {
		t.Fatalf("post: %v", err)
	}
	if len(requests) != 1 {
		t.Fatalf("%d requests, want one", len(requests))
	}
	return <-requests
}

func headerValues(h http.Header) (all []string) {
	for _, values := range h {
		all = append(all, values...)
	}
	return all
}

func leaks(s string) bool { return strings.Contains(s, apiKey) || strings.Contains(s, appKey) }

func TestRolloutThatFailed(t *testing.T) {
	got := posted(t, func(ctx context.Context, e *observe.Events) error {
		return e.RolloutFailed(ctx, "hosts", "reverted", 3, "web-0 (probe)")
	})
	if !strings.Contains(got.Title, "hosts") || !strings.Contains(got.Title, "3") || got.Text != "web-0 (probe)" || got.AlertType != "error" {
		t.Errorf("%+v", got)
	}
}

func TestEventTextIsCutAtACharacter(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 4001), strings.Repeat("é", 3000), strings.Repeat("x", 3) +
		strings.Repeat("日", 2000), strings.Repeat("x", 64<<20)} {
		got := posted(t, func(ctx context.Context, e *observe.Events) error { return e.Updated(ctx, "p", text) }).Text
		kept, marked := strings.CutSuffix(got, "…")
		if !marked || !strings.HasPrefix(text, kept) || utf8.RuneCountInString(got) > 4000 || len(got) < 3990 {
			t.Errorf("a text of %d bytes became %d characters (%d bytes) ending in %q", len(text), utf8.RuneCountInString(got), len(got),
				got[len(got)-8:])
		}
	}
	whole := strings.Repeat("x", 4000)
	if got := posted(t,
		func(ctx context.Context, e *observe.Events) error { return e.Updated(ctx, "p", whole) }).Text; got != whole {
		t.Error("a text of just 4,000 characters was changed")
	}
}

func TestFailuresAreReturnedWithoutKeys(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	respond := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere?"+r.Header.Get("DD-API-KEY"))
			w.WriteHeader(status)
			_, _ = io.WriteString(w, r.Header.Get("DD-API-KEY")+r.Header.Get("DD-APPLICATION-KEY"))
		}
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc // nil: no server
		want    string
		refused bool
	}{
		{"forbidden", respond(http.StatusForbidden), "datadog_api_key", true},
		{"not found", respond(http.StatusNotFound), "datadog_host", true},
		{"redirect", respond(http.StatusTemporaryRedirect), "datadog_host", true},
		{"broken", respond(http.StatusBadGateway), "502", true},
		{"no server", nil, "refused", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host := gone.URL
			if tt.handler != nil {
				requests := 0
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					requests++
					tt.handler(w, r)
				}))
				defer func() {
					server.Close()
					if requests != 1 {
						t.Errorf("%d requests, want one", requests)
					}
				}()
				host = server.URL
			}
			err := newEvents(t, host).StopSet(t.Context(), "kvexpress/hosts/stop", "why")
			if err == nil {
				t.Fatal("no error")
			}
			if leaks(err.Error()) {
				t.Error("the error holds a key")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "kvexpress/hosts/stop") {
				t.Errorf("got %q, want the path and %q in it", err, tt.want)
			}
			if errors.Is(err, observe.ErrEventRefused) != tt.refused {
				t.Errorf("errors.Is(%v, ErrEventRefused) is not %v", err, tt.refused)
			}
		})
	}
}

func TestEventPostEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel()
		<-release
	}))
	defer server.Close()
	defer close(release)
	if err := newEvents(t, server.URL).Updated(ctx, "p", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestEventsNeedBothKeys(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("an event was posted") }))
	defer server.Close()
	for _, keys := range [][2]string{{"", ""}, {apiKey, ""}, {"", appKey}, {" ", "\n"}} {
		e, err := observe.NewEvents(observe.EventOptions{APIKey: keys[0], AppKey: keys[1], DatadogHost: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Updated(t.Context(), "p", "diff"); err != nil || e.Enabled() {
			t.Errorf("keys %q: err %v, enabled %v", keys, err, e.Enabled())
		}
	}
	if err := (*observe.Events)(nil).Updated(t.Context(), "p", "diff"); err != nil {
		t.Errorf("nil: %v", err)
	}
}

func TestDatadogHostForms(t *testing.T) {
	tests := []struct {
		host string
		ok   bool
	}{
		{"", true},
		{"https://api.datadoghq.eu", true},
		{"https://api.datadoghq.eu/", true},
		{"api.datadoghq.eu", true},
		{"http://127.0.0.1:1", true},
		{"http://[::1]:1", true},
		{"http://localhost:1", true},
		{"http://api.datadoghq.com", false},
		{"http://127.0.0.1.example.com", false},
		{"ftp://api.datadoghq.com", false},
		{"https://user:secret@api.datadoghq.com", false},
		{"https://api.datadoghq.com?api_key=secret", false},
		{"https://", false},
		{"https://user:secret@%zz", false},
	}
	for _, tt := range tests {
		_, err := observe.NewEvents(observe.EventOptions{APIKey: apiKey, AppKey: appKey, DatadogHost: tt.host})
		if (err == nil) != tt.ok {
			t.Errorf("%q: got %v, want ok %v", tt.host, err, tt.ok)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "https")) {
			t.Errorf("%q: the error must have a remedy and no secret: %v", tt.host, err)
		}
	}
}
