package cli

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"kvexpress/internal/agent"
	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
)

// scrapeTime is the time of the scrapes.
func scrapeTime() time.Time { return time.Date(2026, 3, 1, 14, 7, 11, 500e6, time.UTC) }

func scrapedAgo(d time.Duration) *time.Time {
	at := scrapeTime().Add(-d)
	return &at
}

// agentSample is a status with a target of every sort.
func agentSample() agent.Status {
	return agent.Status{
		Version: "2.0.0", Node: "web-17", PID: 4711, Started: *scrapedAgo(72 * time.Hour),
		Config: agent.ConfigStatus{Files: []string{"/etc/kvexpress/agent.yml"}, Loaded: *scrapedAgo(time.Hour)},
		Store:  agent.StoreStatus{Addr: "127.0.0.1:8500", Up: true, Since: scrapedAgo(3 * time.Hour)},
		Hub: &agent.HubStatus{Addrs: []string{"b.example:8610", "a.example:8610"}, Addr: "a.example:8610", Since: scrapedAgo(time.Hour),
			Age: fleet.Millis(3 * time.Second)},
		Contact:  scrapedAgo(4 * time.Second),
		Requests: 1234,
		Targets: []agent.TargetStatus{{
			Key: "hosts", File: "/etc/hosts.consul", Outcome: outcome.Pending, Since: scrapedAgo(time.Minute), Detail: "the exec failed",
			Version: 57, Lineage: "4f2c", SHA256: "0123456789ab" + strings.Repeat("f", 52), Size: 22_000,
			Changed: scrapedAgo(2 * time.Minute), Good: scrapedAgo(90 * time.Second),
			Exec: &agent.ExecStatus{Pending: true, Failures: 2, Last: scrapedAgo(time.Minute), Exit: 3, Took: fleet.Millis(80 * time.Millisecond),
				Retry: scrapedAgo(-time.Minute)},
			Counts: agent.Counts{
				Reconciles: 40, Installs: 7, Repairs: 2, Refusals: map[string]uint64{"too_short": 3, "stopped": 1, "made_up": 5},
				ExecOK: 6, ExecFail: 2, ExecSeconds: []uint64{1, 4, 2, 0, 0, 0, 0, 0, 1}, ExecTotal: fleet.Millis(1500 * time.Millisecond),
			},
		}, {
			Key: "team/app/flags", File: `/srv/it's "here"\now` + "\n", Outcome: outcome.Starting,
		}},
	}
}

func scrapeAgent(t *testing.T, s agent.Status) (map[string]*dto.MetricFamily, []byte) {
	t.Helper()
	var out bytes.Buffer
	if err := WriteAgentMetrics(&out, s, scrapeTime()); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatalf("Prometheus cannot read it: %v\n%s", err, out.String())
	}
	return families, out.Bytes()
}

// Prometheus reads it, each series is there once, and its linter finds no fault.
func TestAgentMetricsAreWhatPrometheusWants(t *testing.T) {
	for name, s := range map[string]agent.Status{"full": agentSample(), "new": {}} {
		families, text := scrapeAgent(t, s)
		problems, err := promlint.New(bytes.NewReader(text)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
		for _, family := range families {
			seen := map[string]bool{}
			for _, m := range family.GetMetric() {
				series := fmt.Sprint(m.GetLabel())
				if seen[series] {
					t.Errorf("%s: %s has %s twice", name, family.GetName(), series)
				}
				seen[series] = true
			}
		}
		if _, again := scrapeAgent(t, s); !bytes.Equal(stable(text), stable(again)) {
			t.Errorf("%s: two scrapes of the same status differ:\n%s\n%s", name, text, again)
		}
	}
}

// stable is a scrape without the metric of the process itself.
func stable(text []byte) []byte {
	lines := slices.DeleteFunc(bytes.SplitAfter(text, []byte("\n")), func(line []byte) bool { return bytes.HasPrefix(line, []byte("go_")) })
	return bytes.Join(lines, nil)
}

// value is the value of the one sample with these labels, written "name=value".
func metricValue(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	for _, m := range families[name].GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() // one of them is 0
		}
	}
	t.Errorf("there is no %s%v", name, labels)
	return math.NaN()
}

func TestAgentMetricsSayWhatTheStatusSays(t *testing.T) {
	families, _ := scrapeAgent(t, agentSample())
	const hosts, flags = "key=hosts", "key=team/app/flags"
	for _, tt := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"kvexpress_build_info", []string{"version=2.0.0"}, 1},
		{"kvexpress_agent_config_last_reload_successful", nil, 1},
		{"kvexpress_agent_store_up", nil, 1},
		{"kvexpress_agent_store_requests_total", nil, 1234},
		{"kvexpress_agent_contact_age_seconds", nil, 4},
		{"kvexpress_agent_hub_connected", []string{"hub=a.example:8610"}, 1},
		{"kvexpress_agent_hub_connected", []string{"hub=b.example:8610"}, 0},
		{"kvexpress_agent_target_version", []string{hosts, "file=/etc/hosts.consul"}, 57},
		{"kvexpress_agent_target_content_hash", []string{hosts}, 0x0123456789ab},
		{"kvexpress_agent_target_last_good_age_seconds", []string{hosts}, 90},
		{"kvexpress_agent_target_reconciles_total", []string{hosts}, 40},
		{"kvexpress_agent_target_installs_total", []string{hosts}, 7},
		{"kvexpress_agent_target_repairs_total", []string{hosts}, 2},
		{"kvexpress_agent_target_refusals_total", []string{hosts, "reason=too_short"}, 3},
		{"kvexpress_agent_target_refusals_total", []string{hosts, "reason=stopped"}, 1},
		{"kvexpress_agent_target_refusals_total", []string{hosts, "reason=mismatch"}, 0},
		{"kvexpress_agent_target_refusals_total", []string{hosts, "reason=made_up"}, 5},
		{"kvexpress_agent_target_exec_pending", []string{hosts}, 1},
		{"kvexpress_agent_target_exec_total", []string{hosts, "result=ok"}, 6},
		{"kvexpress_agent_target_exec_total", []string{hosts, "result=failed"}, 2},
		// Nothing has happened to the other one.
		{"kvexpress_agent_target_version", []string{flags, `file=/srv/it's "here"\now` + "\n"}, 0},
		{"kvexpress_agent_target_content_hash", []string{flags}, 0},
		{"kvexpress_agent_target_last_good_age_seconds", []string{flags}, 72 * 3600},
		{"kvexpress_agent_target_refusals_total", []string{flags, "reason=too_short"}, 0},
	} {
		if got := metricValue(t, families, tt.name, tt.labels...); got != tt.want {
			t.Errorf("%s%v is %v, want %v", tt.name, tt.labels, got, tt.want)
		}
	}
	for key, current := range map[string]outcome.Outcome{hosts: outcome.Pending, flags: outcome.Starting} {
		for _, state := range outcome.Reported() {
			if got := metricValue(t, families, "kvexpress_agent_target_outcome", key, "outcome="+string(state)); (got == 1) != (state == current) {
				t.Errorf("%s: %s is %v", key, state, got)
			}
		}
	}
}

func TestAgentMetricsOfExecs(t *testing.T) {
	families, _ := scrapeAgent(t, agentSample())
	for _, name := range []string{"exec_pending", "exec_total", "exec_duration_seconds"} {
		for _, m := range families["kvexpress_agent_target_"+name].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == "team/app/flags" {
					t.Errorf("%s speaks of a target without an exec", name)
				}
			}
		}
	}
	all := families["kvexpress_agent_target_exec_duration_seconds"].GetMetric()
	if len(all) != 1 {
		t.Fatalf("%d histograms, want one", len(all))
	}
	h := all[0].GetHistogram()
	want := []uint64{1, 5, 7, 7, 7, 7, 7, 7, 8}
	if len(h.GetBucket()) != len(want) {
		t.Fatalf("%d buckets, want %d", len(h.GetBucket()), len(want))
	}
	for i, b := range h.GetBucket() {
		if b.GetCumulativeCount() != want[i] || i < len(agent.ExecBuckets()) && b.GetUpperBound() != agent.ExecBuckets()[i] {
			t.Errorf("bucket %d is %v ≤ %v, want %d", i, b.GetCumulativeCount(), b.GetUpperBound(), want[i])
		}
	}
	if h.GetSampleCount() != 8 || h.GetSampleSum() != 1.5 {
		t.Errorf("%d execs of %v s in all, want 8 of 1.5", h.GetSampleCount(), h.GetSampleSum())
	}
}

// A bad reload and an unreachable store show.
func TestAgentMetricsOfTrouble(t *testing.T) {
	s := agentSample()
	s.Config.Error = "agent.yml:3: no such word"
	s.Store = agent.StoreStatus{Addr: "127.0.0.1:8500", Since: scrapedAgo(5 * time.Minute), Error: "connection refused"}
	s.Hub.Addr = ""
	s.Targets[0].Good = scrapedAgo(-time.Hour) // the clock was set back
	families, _ := scrapeAgent(t, s)
	for name, want := range map[string]float64{
		"kvexpress_agent_config_last_reload_successful": 0,
		"kvexpress_agent_store_up":                      0,
	} {
		if got := metricValue(t, families, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := metricValue(t, families, "kvexpress_agent_target_last_good_age_seconds", "key=hosts"); got != 0 {
		t.Errorf("a pass in the future was %v s ago", got)
	}
}
