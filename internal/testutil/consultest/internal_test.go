package consultest

import (
	"strings"
	"testing"
)

func TestFindBinaryNeverFallsBackFromAWrongSetting(t *testing.T) {
	t.Setenv(binaryEnv, t.TempDir()+"/none")
	if path, err := findBinary(); err == nil || !strings.Contains(err.Error(), binaryEnv) {
		t.Errorf("got %q, %v; want an error that names %s", path, err, binaryEnv)
	}
}

func TestLastLines(t *testing.T) {
	if got := lastLines("a\nb\nc\n", 2); got != "b\nc" {
		t.Errorf("got %q", got)
	}
	if got := lastLines("a\n", 40); got != "a" {
		t.Errorf("got %q", got)
	}
	if got := lastLines("a\n2026 [ERROR] agent.http: Request error: method=PUT\nb\n", 2); got != "a\nb" {
		t.Errorf("got %q", got)
	}
}
