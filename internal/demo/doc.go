// Package demo owns a fleet in one process and one folder: a hub with an embedded store on a free port, and many agents, each
// with a file, a state folder and an exec. Agents follow the hub. The caller publishes and prints.
//
// It may import agent, config, hub, install, kv, store/consul and wire.
package demo
