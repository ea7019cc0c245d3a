//go:build linux

package agent

import (
	"os"
	"testing"

	"kvexpress/internal/deliver"
	"kvexpress/internal/e2e"
)

func TestMain(m *testing.M) {
	if step := os.Getenv(agentDieAtEnv); step != "" {
		agentDieAt(deliver.Step(step))
		return
	}
	e2e.Main(m)
}
