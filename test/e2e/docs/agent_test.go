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

// Every ```yaml block with targets is a good agent.yml.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	found := 0
	for _, pattern := range []string{"../../../docs/*.md", "../../../*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
				if !strings.Contains(block[1], "targets:") {
					continue
				}
				found++
				path := filepath.Join(t.TempDir(), "agent.yml")
				if err := os.WriteFile(path, []byte(block[1]), 0o600); err != nil {
					t.Fatal(err)
				}
				env := config.Env{Getenv: func(string) string { return "/nonexistent" }, Hostname: "web-17"}
				if _, err := config.Load(path, env); err != nil {
					t.Errorf("%s shows a configuration that is refused: %v\n%s", file, err, block[1])
				}
			}
		}
	}
	if found < 2 {
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

// Every link within the documents leads somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	links := 0
	for _, file := range append(files, "../../../README.md", "../../../ARCHITECTURE.md", "../../../bench/README.md") {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(read(file), -1) {
			path, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			to := file
			if path != "" {
				to = filepath.Join(filepath.Dir(file), path)
			}
			if text := read(to); anchor != "" && !hasAnchor(text, anchor) {
				t.Errorf("%s: there is no %s", file, link[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
}

// hasAnchor reports whether a heading has this anchor: in lower case, blanks are dashes,
// and other characters than letters and digits are left out.
func hasAnchor(text, anchor string) bool {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")
		if regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, "") == anchor {
			return true
		}
	}
	return false
}
