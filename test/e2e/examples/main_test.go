package examples

import (
	"testing"

	"kvexpress/test/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }
