package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"kvexpress/internal/agent"
	"kvexpress/internal/observe"
)

func askPage(t *testing.T, h http.Handler, method, path string) (*http.Response, string) {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func noError() error { return nil }

func TestAgentPages(t *testing.T) {
	h := agentPages(agentSample, noError, func() error { return errors.New("hosts: not yet\n\x1b[31mflags: not yet") }, true)
	const plain = "text/plain; charset=utf-8"
	for _, tt := range []struct {
		method, path string
		code         int
		kind, body   string // body: a part of it
	}{
		{"GET", "/healthz", 200, plain, "ok\n"},
		{"GET", "/readyz", 503, plain, "hosts: not yet\n\ufffd[31mflags: not yet\n"},
		{"GET", "/metrics", 200, observe.ContentType, "kvexpress_agent_store_up 1\n"},
		{"GET", "/status", 200, "application/json", `"node":"web-17"`},
		{"GET", "/", 404, plain, "/healthz\n/metrics\n/readyz\n/status\n"},
		{"GET", "/metrics/", 404, plain, "/metrics\n"},
		{"GET", "//status", 404, plain, "/status\n"},
		{"GET", "/debug/pprof/", 404, plain, "/status\n"},
		{"GET", "/<script>", 404, plain, "not found"},
		{"POST", "/status", 405, plain, "only GET and HEAD"},
		{"PUT", "/readyz", 405, plain, "only GET and HEAD"},
		{"DELETE", "/nothing", 405, plain, "only GET and HEAD"},
		{"HEAD", "/healthz", 200, plain, ""},
		{"HEAD", "/readyz", 503, plain, ""},
		{"HEAD", "/metrics", 200, observe.ContentType, ""},
		{"HEAD", "/status", 200, "application/json", ""},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			resp, body := askPage(t, h, tt.method, tt.path)
			if resp.StatusCode != tt.code || resp.Header.Get("Content-Type") != tt.kind {
				t.Errorf("%d, %s; want %d, %s", resp.StatusCode, resp.Header.Get("Content-Type"), tt.code, tt.kind)
			}
			if !strings.Contains(body, tt.body) || tt.method == "HEAD" && body != "" {
				t.Errorf("got %q, want %q in it", body, tt.body)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
				"Access-Control-Allow-Origin": ""} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if tt.code == http.StatusMethodNotAllowed && resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", resp.Header.Get("Allow"))
			}
		})
	}

	_, body := askPage(t, h, "GET", "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil {
		t.Errorf("Prometheus cannot read /metrics: %v", err)
	}
	_, body = askPage(t, h, "GET", "/status")
	var got agent.Status
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%+v", got.Store),
		fmt.Sprintf("%+v", agentSample().Store); got.Targets[1].File != agentSample().Targets[1].File || len(a) != len(b) {
		t.Errorf("the status came back as %+v", got)
	}
}

// Over the network, the status has no command lines and no output of commands.
func TestAgentStatusOnTheNetwork(t *testing.T) {
	status := func() agent.Status {
		s := agentSample()
		s.Config.Error = "agent.yml:3: exec: secret-argument"
		s.Targets[0].Detail, s.Targets[0].Brief = `command "mysql -psecret-argument" failed`, `command "mysql" failed`
		s.Targets[0].Exec.Output, s.Targets[1].Check = "secret-output\n", "secret-output\n"
		return s
	}
	for _, local := range []bool{true, false} {
		_, body := askPage(t, agentPages(status, noError, noError, local), "GET", "/status")
		argument, output := strings.Count(body, "secret-argument"), strings.Count(body, "secret-output")
		if want := map[bool]int{true: 2}[local]; argument != want || output != want {
			t.Errorf("local %t: %s", local, body)
		}
		if !local && !strings.Contains(body, `command \"mysql\" failed`) {
			t.Errorf("the reason is lost: %s", body)
		}
		if _, body := askPage(t, agentPages(status, noError, noError, local), "GET", "/metrics"); strings.Contains(body, "secret") {
			t.Errorf("metrics: %s", body)
		}
	}
}

// A bug is an answer, and the next question is answered too.
func TestABugInAgentStatusIsAnAnswer(t *testing.T) {
	h := agentPages(func() agent.Status { panic("index out of range") }, noError, noError, true)
	resp, body := askPage(t, h, "GET", "/status")
	if !strings.Contains(body, "index out of range") {
		t.Errorf("%d: %q", resp.StatusCode, body)
	}
	if resp, _ := askPage(t, h, "GET", "/healthz"); resp.StatusCode != http.StatusOK {
		t.Errorf("/healthz says %d afterwards", resp.StatusCode)
	}
}
