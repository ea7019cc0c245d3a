//go:build linux

// Package rollout tests staged rollouts on real parts: Consul, hubs, agents, and the services that read their files.
package rollout

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"kvexpress/test/e2e"
)

// probeEnv makes this program the probe of a node: it has the address of a DNS server, a name and the address that the name must have.
const probeEnv = "KVEXPRESS_TEST_PROBE"

func TestMain(m *testing.M) {
	if spec := os.Getenv(probeEnv); spec != "" {
		os.Exit(probe(spec))
	}
	e2e.Main(m)
}

func probe(spec string) int {
	var server, name, want string
	if _, err := fmt.Sscan(spec, &server, &name, &want); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	got, err := ask(ctx, server, name)
	if err == nil && got == want {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s is %s, want %s: %v\n", name, got, want, err)
	return 1
}
