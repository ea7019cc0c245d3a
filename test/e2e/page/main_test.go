//go:build linux

// Package page tests the hub's web page in a browser: what it shows and does, at the width of a desk and of a phone.
package page

import (
	"testing"

	"kvexpress/test/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }
