package publish

import (
	"os"
	"testing"

	"kvexpress/internal/e2e"
	"kvexpress/internal/publish"
)

func TestMain(m *testing.M) {
	if step := os.Getenv(dieAtEnv); step != "" {
		dieAt(publish.Step(step))
		return
	}
	e2e.Main(m)
}
