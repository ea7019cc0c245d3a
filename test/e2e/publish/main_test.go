package publish

import (
	"os"
	"testing"

	"kvexpress/internal/publish"
	"kvexpress/test/e2e"
)

func TestMain(m *testing.M) {
	if step := os.Getenv(dieAtEnv); step != "" {
		dieAt(publish.Point(step))
		return
	}
	e2e.Main(m)
}
