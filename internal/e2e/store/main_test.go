package store

import (
	"testing"

	"kvexpress/internal/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }
