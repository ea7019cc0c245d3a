package fleet_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"text/template"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli"
	"kvexpress/internal/hub"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/observe"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
)

// rules is alert-rules.yml.
type rules struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	b, err := os.ReadFile("../../monitoring/alert-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file rules
	if err := yaml.Load(b, &file, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d rules were found", len(all))
	}
	return all
}

// dashboard is a part of grafana-dashboard.json.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Panels        []panel
}

type panel struct {
	ID          int
	Type, Title string
	Datasource  source
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		Datasource   source
		Expr         string
		LegendFormat string
	}
}

type source struct{ Type, UID string }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile("../../monitoring/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// inGrafana is an expression as Grafana sends it.
func inGrafana(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$key", ".*").Replace(expr)
}

// everything has the labels of all metrics of hub and agent, and their values.
func everything(t *testing.T) map[string]map[string]map[string]bool {
	t.Helper()
	var texts []string
	synctest.Test(t, func(t *testing.T) {
		texts = append(texts, full(t).text(), agentText(t, time.Now(), true), hubText(t, hub.Own{Rollouts: rollouts.Counts{
			Open: []rollouts.Open{{Key: "hosts", State: rollout.Halted}, {Key: "other", State: rollout.Paused}}}}))
	})
	found := map[string]map[string]map[string]bool{"up": {}}
	for _, text := range texts {
		for name, family := range parseMetrics(t, text) {
			for _, m := range family.GetMetric() {
				names := []string{name}
				if m.GetHistogram() != nil {
					names = []string{name + "_bucket", name + "_sum", name + "_count"}
				}
				for _, name := range names {
					if found[name] == nil {
						found[name] = map[string]map[string]bool{"job": nil, "instance": nil}
					}
					if strings.HasSuffix(name, "_bucket") {
						found[name]["le"] = nil
					}
					for _, l := range m.GetLabel() {
						if found[name][l.GetName()] == nil {
							found[name][l.GetName()] = map[string]bool{}
						}
						found[name][l.GetName()][l.GetValue()] = true
					}
				}
			}
		}
	}
	return found
}

// agentText is the scrape of an agent, with or without trouble.
func agentText(t *testing.T, now time.Time, good bool) string {
	t.Helper()
	at := now.Add(-time.Hour)
	if good {
		at = now.Add(-time.Minute)
	}
	s := agent.Status{
		Version: "2.0.0", Node: "web-1", Started: now.Add(-2 * time.Hour), Config: agent.ConfigStatus{Loaded: now.Add(-time.Hour)},
		Store: agent.StoreStatus{Up: true, Since: &at}, Hub: &agent.HubStatus{Addrs: []string{"hub-1:8610"}}, Contact: &at,
		Targets: []agent.TargetStatus{{
			Key: "hosts", File: "/etc/hosts", Outcome: outcome.Converged, Good: &at, Exec: &agent.ExecStatus{},
			Counts: agent.Counts{ExecOK: 1, ExecSeconds: []uint64{1}},
		}},
	}
	if good {
		s.Hub.Addr = s.Hub.Addrs[0]
	} else {
		s.Config.Error = "agent.yml:3: no such word"
	}
	var out bytes.Buffer
	if err := cli.WriteAgentMetrics(&out, s, now); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// hubText is the part of a hub's scrape that is about itself.
func hubText(t *testing.T, own hub.Own) string {
	t.Helper()
	var out bytes.Buffer
	m := observe.NewProm(&out)
	own.Write(m)
	if err := m.End(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Each metric, label and value that the dashboard and the rules name exists.
func TestMonitoringNamesWhatIsExported(t *testing.T) {
	exported := everything(t)
	var exprs, where, labels []string
	add := func(at, expr, also string) {
		where, exprs, labels = append(where, at), append(exprs, expr), append(labels, also)
	}
	for _, r := range readRules(t) {
		add(r.Alert, r.Expr, fmt.Sprint(r.Annotations))
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			add(p.Title, inGrafana(target.Expr), target.LegendFormat)
		}
	}
	for i, answer := range ask(t, engine(t), request{Exprs: exprs}) {
		if answer.Error != "" || len(answer.Selectors) == 0 {
			t.Errorf("%s: %s: %s", where[i], exprs[i], answer.Error)
			continue
		}
		all := map[string]bool{}
		for _, s := range answer.Selectors {
			has, ok := exported[s.Name]
			if !ok {
				t.Errorf("%s: no program exports %s", where[i], s.Name)
				continue
			}
			for label := range has {
				all[label] = true
			}
			for _, label := range s.Labels {
				if _, ok := has[label]; !ok {
					t.Errorf("%s: %s has no label %s", where[i], s.Name, label)
				}
			}
			for label, value := range s.Equal {
				if has[label] != nil && !has[label][value] {
					t.Errorf("%s: %s is never %s=%q", where[i], s.Name, label, value)
				}
			}
		}
		// The labels that it groups by, and those in its texts.
		used := answer.Labels
		for _, m := range regexp.MustCompile(`\{\{ *(?:\$labels\.)?([a-z_]+)`).FindAllStringSubmatch(labels[i], -1) {
			used = append(used, m[1])
		}
		for _, label := range used {
			if !all[label] {
				t.Errorf("%s: no metric in it has a label %s", where[i], label)
			}
		}
	}
}

func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 39 || len(d.Panels) < 15 {
		t.Errorf("uid %q, title %q, schema %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		if p.ID < 1 || ids[p.ID] || p.Title == "" || p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d: id %d, title %q, at %+v", i, p.ID, p.Title, p.GridPos)
		}
		ids[p.ID] = true
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s overlaps %s", p.Title, q.Title)
			}
		}
		for _, target := range p.Targets {
			if target.Expr == "" || target.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: target %+v", p.Title, target)
			}
		}
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("%s has no target", p.Title)
		}
	}
}

// Each alert says what, why, and a command that exists.
func TestAlertsAreExplained(t *testing.T) {
	b, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, r := range readRules(t) {
		if !strings.HasPrefix(r.Alert, "Kvexpress") || names[r.Alert] {
			t.Errorf("%q is no name, or there twice", r.Alert)
		}
		names[r.Alert] = true
		if keys := slices.Sorted(maps.Keys(r.Annotations)); !slices.Equal(keys, []string{"description", "summary"}) {
			t.Errorf("%s has %v", r.Alert, keys)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		// What pages people has lasted for a while.
		if d, err := model.ParseDuration(r.For); err != nil || time.Duration(d) < 5*time.Minute && r.Labels["severity"] != "info" {
			t.Errorf("%s: for %q: %v", r.Alert, r.For, err)
		}
		for _, text := range r.Annotations {
			fill(t, r.Alert, text)
		}
		text := r.Annotations["description"]
		commands := regexp.MustCompile("`kvexpress ([a-z]+)").FindAllStringSubmatch(text, -1)
		if len(commands) == 0 || len(text) < 80 {
			t.Errorf("%s names no command: %s", r.Alert, text)
		}
		for _, c := range commands {
			if !strings.Contains(string(b), "\n## "+c[1]+"\n") {
				t.Errorf("%s: there is no kvexpress %s", r.Alert, c[1])
			}
		}
	}
}

// fill fills a text in as Prometheus does, which must be printable.
func fill(t *testing.T, alert, text string) {
	t.Helper()
	funcs := template.FuncMap{"humanizeDuration": func(v float64) string { return time.Duration(v * 1e9).String() }}
	tmpl, err := template.New(alert).Funcs(funcs).Option("missingkey=error").Parse("{{$labels := .Labels}}{{$value := .Value}}" +
		text)
	var out strings.Builder
	if err == nil {
		err = tmpl.Execute(&out,
			map[string]any{"Labels": map[string]string{"key": "hosts", "instance": "web-1:9357", "file": "/etc/hosts"}, "Value": 900.0})
	}
	if err != nil || strings.ContainsAny(out.String(), "\n{}") {
		t.Errorf("%s: %q, %v", alert, out.String(), err)
	}
}

// docs/metrics.md has every metric of the hub, and no other; docs/monitoring.md has every alert.
func TestMonitoringIsDocumented(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	metrics, alerts := read("../../docs/metrics.md"), read("../../docs/monitoring.md")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("`(kvexpress_(?:fleet|hub)_[a-z_]+)`").FindAllStringSubmatch(metrics, -1) {
		documented[m[1]] = true
	}
	exported := everything(t)
	for name := range exported {
		if (strings.HasPrefix(name, "kvexpress_fleet_") || strings.HasPrefix(name, "kvexpress_hub_")) && !documented[name] {
			t.Errorf("docs/metrics.md does not have %s", name)
		}
	}
	for name := range documented {
		if exported[name] == nil {
			t.Errorf("docs/metrics.md has %s, which no program exports", name)
		}
	}
	for _, r := range readRules(t) {
		if !strings.Contains(alerts, "`"+r.Alert+"`") {
			t.Errorf("docs/monitoring.md does not have %s", r.Alert)
		}
	}
}
