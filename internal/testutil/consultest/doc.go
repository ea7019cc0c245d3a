// Package consultest runs real Consul agents for tests: one in memory, one
// with a data folder that survives a kill, or a cluster on the addresses of the
// loopback interface.
//
// It owns finding the binary, ports, configuration, waiting until an agent is
// of use, and ending every process it started. It is a leaf: it speaks HTTP
// with the standard library, imports nothing of this module, and only tests
// import it.
//
// A test that needs Consul and finds no binary fails. Only -short skips it, and not
// in CI.
package consultest
