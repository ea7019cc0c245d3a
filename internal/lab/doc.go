//go:build linux

// Package lab is the hosts-file fleet on one machine, made of real parts: Consul
// servers, a Consul agent and a dnsmasq for each node, consul-template under a lock
// on the servers, and kvexpress as everybody runs it, by its command lines. Each has an
// address of its own in 127.0.0.0/8, each role a token of its own, and each node a host
// name of its own.
//
// It owns the processes, their configuration, what is seen of them from outside, and
// the changes that are measured. It makes no use of kvexpress' own packages but to read
// what was published. Tests, benchmarks and the program in cmd/lab are on top of it.
package lab
