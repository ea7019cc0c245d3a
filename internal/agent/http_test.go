package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"kvexpress/internal/command"
	"kvexpress/internal/observe"
	"kvexpress/internal/outcome"
)

// testLimit is how long a test waits for what must happen.
const testLimit = 30 * time.Second

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.After(testLimit); !ok(); {
		select {
		case <-end:
			t.Fatal("it did not happen")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func ask(t *testing.T, h http.Handler, method, path string) (*http.Response, string) {
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

func fine() error { return nil }

func TestHandler(t *testing.T) {
	h := Handler(sample, fine, func() error { return errors.New("hosts: not yet\n\x1b[31mflags: not yet") }, true)
	const plain = "text/plain; charset=utf-8"
	for _, tt := range []struct {
		method, path string
		code         int
		kind, body   string // body: what is in it
	}{
		{"GET", "/healthz", 200, plain, "ok\n"},
		{"GET", "/readyz", 503, plain, "hosts: not yet\n\ufffd[31mflags: not yet\n"},
		{"GET", "/metrics", 200, observe.ContentType, "kvexpress_agent_store_up 1\n"},
		{"GET", "/status", 200, "application/json", `"node":"web-17"`},
		{"GET", "/", 404, plain, "/healthz\n/readyz\n/metrics\n/status\n"},
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
			resp, body := ask(t, h, tt.method, tt.path)
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

	_, body := ask(t, h, "GET", "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil {
		t.Errorf("Prometheus cannot read /metrics: %v", err)
	}
	_, body = ask(t, h, "GET", "/status")
	var got Status
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%+v", got.Store),
		fmt.Sprintf("%+v", sample().Store); got.Targets[1].File != sample().Targets[1].File || len(a) != len(b) {
		t.Errorf("the status came back as %+v", got)
	}
}

// The network is told neither command lines nor what commands printed.
func TestStatusOnTheNetwork(t *testing.T) {
	status := func() Status {
		s := sample()
		s.Config.Error = "agent.yml:3: exec: secret-argument"
		s.Targets[0].Detail, s.Targets[0].brief = `command "mysql -psecret-argument" failed`, `command "mysql" failed`
		s.Targets[0].Exec.Output, s.Targets[1].Check = "secret-output\n", "secret-output\n"
		return s
	}
	for _, local := range []bool{true, false} {
		_, body := ask(t, Handler(status, fine, fine, local), "GET", "/status")
		argument, output := strings.Count(body, "secret-argument"), strings.Count(body, "secret-output")
		if want := map[bool]int{true: 2}[local]; argument != want || output != want {
			t.Errorf("local %t: %s", local, body)
		}
		if !local && !strings.Contains(body, `command \"mysql\" failed`) {
			t.Errorf("the reason is lost: %s", body)
		}
		if _, body := ask(t, Handler(status, fine, fine, local), "GET", "/metrics"); strings.Contains(body, "secret") {
			t.Errorf("metrics: %s", body)
		}
	}
}

// A bug is an answer, and the next question is answered too.
func TestABugIsAnAnswer(t *testing.T) {
	h := Handler(func() Status { panic("index out of range") }, fine, fine, true)
	resp, body := ask(t, h, "GET", "/status")
	if !strings.Contains(body, "index out of range") {
		t.Errorf("%d: %q", resp.StatusCode, body)
	}
	if resp, _ := ask(t, h, "GET", "/healthz"); resp.StatusCode != http.StatusOK {
		t.Errorf("/healthz says %d afterwards", resp.StatusCode)
	}
}

func TestReady(t *testing.T) {
	loaded := ConfigStatus{Loaded: scrapeTime()}
	away := StoreStatus{Error: "connection refused"}
	target := func(state outcome.Outcome, c Counts) TargetStatus {
		return TargetStatus{Key: "hosts", File: "/f", Outcome: state, Counts: c}
	}
	counted := func(reasons ...string) Counts {
		c := Counts{Reconciles: 3, Refusals: map[string]uint64{}}
		for _, reason := range reasons {
			c.Refusals[reason]++
		}
		return c
	}
	good := target(outcome.Unreachable, Counts{})
	good.Good = ago(time.Hour)
	for _, tt := range []struct {
		name string
		s    Status
		want string // in the reason; "" for ready
	}{
		{"nothing is loaded", Status{}, "loaded"},
		{"no targets", Status{Config: loaded}, ""},
		{"starting", Status{Config: loaded, Targets: []TargetStatus{target(outcome.Starting, Counts{})}}, "hosts: /f"},
		{"away from the start", Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, Counts{})}},
			"connection refused"},
		{"away from the start, tried often",
			Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, counted("unreachable"))}}, "connection refused"},
		{"away after a good pass", Status{Config: loaded, Store: away, Targets: []TargetStatus{good}}, ""},
		{"away after a stop", Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, counted("stopped"))}}, ""},
		{"away after a stop, and before",
			Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, counted("unreachable", "stopped"))}}, ""},
		{"away after a failed exec", Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, Counts{ExecFail: 1})}},
			""},
		{"one of two", Status{Config: loaded, Targets: []TargetStatus{target(outcome.Converged, Counts{}), target(outcome.Starting, Counts{})}},
			"hosts: /f"},
	} {
		err := Ready(tt.s)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, state := range outcome.Reported() {
		if state == outcome.Starting || state == outcome.Unreachable {
			continue
		}
		if err := Ready(Status{Config: loaded, Targets: []TargetStatus{target(state, Counts{})}}); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	many := Status{Config: loaded}
	for range 1000 {
		many.Targets = append(many.Targets, target(outcome.Starting, Counts{}))
	}
	if lines := strings.Split(Ready(many).Error(), "\n"); len(lines) != maxReasons+1 || !strings.Contains(lines[maxReasons], "950") {
		t.Errorf("%d lines, the last one is %q", len(lines), lines[len(lines)-1])
	}
}

// nowhere is a store that nothing asks.
type nowhere struct{ Store }

func (nowhere) Addr() string { return "" }

// However many commands fail, a status stays small.
func TestStatusHoldsSoMuchOutput(t *testing.T) {
	a := &Agent{link: newLink([]Store{nowhere{}}, nil, slog.New(slog.DiscardHandler))}
	for range 1000 {
		a.running = append(a.running, &runner{target: &target{status: TargetStatus{
			Check: strings.Repeat("x", command.MaxOutput), Exec: &ExecStatus{Output: strings.Repeat("x", command.MaxOutput)},
		}}})
	}
	total := 0
	for _, s := range a.Status().Targets {
		total += len(s.Check) + len(s.Exec.Output)
	}
	if total > maxOutputs || total < maxOutputs/2 {
		t.Errorf("%d bytes of output", total)
	}
}
