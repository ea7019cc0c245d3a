// Package demo is a whole fleet in one process and one folder: an embedded store
// behind Consul's HTTP API on a free port, and many agents, each with a file, a state
// and a reload of its own. They are the real ones, and reach the store over HTTP; what
// is published to them, and what is told of it, the caller decides.
package demo
