package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli"
	"kvexpress/internal/config"
	"kvexpress/internal/httpd"
	"kvexpress/internal/outcome"
)

// Every block with targets, or with agent.yml or hub.yml in its first line, is a good configuration.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	found := 0
	var err error
	for file, page := range documents(t) {
		for _, block := range blocks(page) {
			first, _, _ := strings.Cut(block.text, "\n")
			agent := strings.Contains(first, "agent.yml") || strings.Contains(block.text, "\n  - key: ")
			hub := strings.Contains(first, "hub.yml")
			if block.kind != "yaml" || !agent && !hub {
				continue
			}
			found++
			path := filepath.Join(t.TempDir(), "a.yml")
			if agent && !strings.Contains(block.text, "targets:") {
				block.text += "targets: []\n"
			}
			if err := os.WriteFile(path, []byte(block.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if hub {
				_, err = config.LoadHub(path, config.Hub{Store: config.Store{Addrs: []string{""}}}, func(string) bool { return false })
			} else {
				_, err = config.Load(path, config.Env{Getenv: func(string) string { return "/nonexistent" }, Hostname: "web-17"})
			}
			if err != nil {
				t.Errorf("%s shows a configuration that is refused: %v\n%s", file, err, block.text)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d configurations were found", found)
	}
}

// The pages have every key of agent.yml and hub.yml, every outcome, metric and path, in `…`.
func TestDaemonsAreDocumented(t *testing.T) {
	t.Parallel()
	names := map[string][]string{} // by page
	for file, page := range map[string]string{"main.go": "agent-yml.md", "target.go": "agent-yml.md", "hubfile.go": "hub.md"} {
		b, err := os.ReadFile(filepath.Join("../../../internal/config", file))
		if err != nil {
			t.Fatal(err)
		}
		keys := regexp.MustCompile(`(?m)^\t\t"([a-z_]+)": `).FindAllStringSubmatch(string(b), -1)
		if len(keys) < 10 {
			t.Errorf("only %d keys were found in %s", len(keys), file)
		}
		for _, key := range keys {
			names[page] = append(names[page], key[1])
		}
	}
	names["agent.md"] = []string{httpd.HealthPath, httpd.ReadyPath, httpd.StatusPath, httpd.MetricsPath}
	for _, o := range outcome.Reported() {
		names["agent.md"] = append(names["agent.md"], string(o))
	}
	var metrics bytes.Buffer
	full := agent.Status{Targets: []agent.TargetStatus{{Exec: &agent.ExecStatus{}}}}
	if err := cli.WriteAgentMetrics(&metrics, full, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, family := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(metrics.String(), -1) {
		names["metrics.md"] = append(names["metrics.md"], family[1])
	}
	for page, names := range names {
		b, err := os.ReadFile("../../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) < 10 {
			t.Errorf("only %d names were found for %s", len(names), page)
		}
		for _, name := range names {
			if !strings.Contains(string(b), "`"+name+"`") {
				t.Errorf("docs/%s does not have %s", page, name)
			}
		}
	}
}
