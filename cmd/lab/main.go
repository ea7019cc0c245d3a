//go:build linux

// Command lab runs the hosts-file fleet on this machine, of real Consul, consul-template,
// dnsmasq and kvexpress, and measures it. It is no part of kvexpress, and runs in its
// source tree.
package main

import (
	"context"
	"os"

	"kvexpress/internal/lab/play"
)

func main() {
	os.Exit(play.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
