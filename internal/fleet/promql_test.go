package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The input and output of tools/promql: see there.
type (
	request struct {
		Exprs   []string
		Scrapes []sample
		Step    time.Duration
	}
	sample struct {
		At     time.Time
		Target map[string]string
		Text   string
	}
	answer struct {
		Error     string
		Selectors []struct {
			Name   string
			Equal  map[string]string
			Labels []string
		}
		Labels []string
		Series []struct {
			Labels map[string]string
			At     []time.Time
			Values []float64
		}
	}
)

// engine is the path of tools/promql. In `make check`, which has no tools, it skips the test.
func engine(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Prometheus' engine, which -short leaves out")
	}
	path, err := filepath.Abs("../../.build/bin/promql")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("no Prometheus engine; `make tools` builds it: %v", err)
	}
	return path
}

// ask asks Prometheus' own engine.
func ask(t *testing.T, engine string, req request) []answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	in, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, engine)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("promql: %v\n%s", err, stderr.String())
	}
	var answers []answer
	if err := json.Unmarshal(stdout.Bytes(), &answers); err != nil || len(answers) != len(req.Exprs) {
		t.Fatalf("promql: %d answers to %d questions, %v", len(answers), len(req.Exprs), err)
	}
	return answers
}
