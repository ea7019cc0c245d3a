//go:build linux

package agent

import (
	"os"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/test/e2e"
)

func TestMain(m *testing.M) {
	if step := os.Getenv(agentDieAtEnv); step != "" {
		agentDieAt(install.FaultPoint(step))
		return
	}
	e2e.Main(m)
}
