//go:build linux

// Package hub tests hubs and the agents that follow them: fan-out, authorization, bad input and faults.
package hub

import (
	"testing"

	"kvexpress/test/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }
