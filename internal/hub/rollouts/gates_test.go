package rollouts

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvexpress/internal/rollout"
)

// A gate that was ordered before a pause, and ends after the one that was ordered at the resume, says nothing.
func TestLateGate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gate := "cd " + dir + "; if mkdir first; then until [ -e go ]; do sleep 0.01; done; exit 3; fi"
	r := New(Options{Gates: map[string]Gate{"dns": {Run: []string{"sh", "-c", gate}}}, Log: slog.New(slog.DiscardHandler)})
	of, row := newTrack(r, "hosts"), rollout.Row{ID: "r1", Key: "hosts"}
	of.of = row.ID
	result := func() rollout.GateResult {
		r.mu.Lock()
		defer r.mu.Unlock()
		return of.gates["dns"]
	}
	until := func(is func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !is(); <-time.After(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain; the gate is %+v", result())
			}
		}
	}
	of.runGate(t.Context(), "dns", row)
	until(func() bool { _, err := os.Stat(filepath.Join(dir, "first")); return err == nil })
	of.runGate(t.Context(), "dns", row)
	until(func() bool { return result().Done })
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.work.Wait()
	if !result().Passed {
		t.Errorf("the gate is %+v", result())
	}
}
