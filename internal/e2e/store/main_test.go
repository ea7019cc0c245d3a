package store

import (
	"os"
	"testing"

	"kvexpress/internal/e2e"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(asConsulEnv); socket != "" {
		asConsul(socket, os.Args[1:])
		return
	}
	e2e.Main(m)
}
