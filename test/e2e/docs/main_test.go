package docs

import (
	"os"
	"testing"

	"kvexpress/test/e2e"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(toolEnv); socket != "" {
		asTool(socket, os.Args[1:])
		return
	}
	e2e.Main(m)
}
