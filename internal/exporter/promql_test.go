package exporter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// What goes to tools/promql, and what comes back: see there.
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

// engine builds tools/promql, and returns its path. The first time this takes a while.
func engine(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bin := filepath.Join(t.TempDir(), "promql")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin, ".")
	build.Dir = "../../tools/promql"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build tools/promql: %v\n%s", err, out)
	}
	return bin
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
