package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// Each Go module gets updates, but for those that COMPATIBILITY.md pins, and the workflow runs what CI runs.
func TestGitHubFiles(t *testing.T) {
	t.Parallel()
	read := func(name string, into any) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(repository, ".github", name))
		if err == nil {
			err = yaml.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var updates struct {
		Updates []struct {
			Ecosystem   string   `yaml:"package-ecosystem"`
			Directories []string `yaml:"directories"`
		} `yaml:"updates"`
	}
	read("dependabot.yml", &updates)
	modules, err := filepath.Glob(repository + "/*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := filepath.Glob(repository + "/tools/*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/"}
	for _, module := range append(modules, tools...) {
		folder := strings.TrimPrefix(filepath.Dir(module), repository)
		if folder != "/tools/consul-oldest" && folder != "/tools/consul-newest" {
			want = append(want, folder)
		}
	}
	if got := updates.Updates[0].Directories; !slices.Equal(got, want) {
		t.Errorf("dependabot.yml has the modules\n%v, and there are\n%v", got, want)
	}
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Run  string            `yaml:"run"`
				With map[string]string `yaml:"with"`
			} `yaml:"steps"`
		} `yaml:"jobs"`
	}
	read("workflows/check.yml", &workflow)
	runs, version := false, false
	for _, step := range workflow.Jobs["check"].Steps {
		runs = runs || step.Run == ".ci/run"
		version = version || step.With["go-version-file"] == "go.mod"
	}
	if !runs || !version {
		t.Errorf("the workflow runs .ci/run: %t, with the Go of go.mod: %t", runs, version)
	}
}
