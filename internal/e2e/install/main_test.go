package install

import (
	"testing"

	"kvexpress/internal/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }
