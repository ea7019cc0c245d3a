// Package config reads the agent's configuration, agent.yml and its fragments, into checked values. It imports kv,
// command and deliver of this module.
package config

import (
	"strings"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// Config is what an agent runs on. Every value is checked, defaults are filled in.
type Config struct {
	Store    Store
	Layout   kv.Layout
	Node     string // what the agent calls itself
	StateDir string // absolute
	Listen   string // a path (Unix socket), host:port, or "" for none
	// Reconcile is how often every target is looked at though nothing changed.
	Reconcile time.Duration
	// Receipts: the agent reports to the store what became of its targets.
	Receipts bool
	Targets  []Target // in the order of the files
	Files    []string // what was read: the file itself, then its fragments by name
}

// Store says which Consul to ask, and as whom. Empty fields come from Consul's environment, as everywhere.
type Store struct {
	Addrs      []string // at least one; the next is asked when one is away
	TokenFile  string
	CAFile     string
	ClientCert string
	ClientKey  string
	ServerName string // that the certificate must be for, if not the address's
	Datacenter string
	Namespace  string
	Partition  string
}

// Target is one file, and the rules of the agent for it.
type Target struct {
	install.Target
	// Spread is the longest delay of a new version on a node. The delay depends on the node's name alone. A first
	// install has none.
	Spread time.Duration
	// ExecEvery is the least time between two runs of the exec, which are one for all targets with the same exec; 0: none.
	ExecEvery time.Duration
	At        string // where it is defined, for messages: "agent.yml:12"
}

// ExecGroup is the same for targets that share one run of their exec; "" for a target that runs its own, because it has none
// or puts the old bytes back when the exec fails.
func (t Target) ExecGroup() string {
	if len(t.Exec) == 0 || t.RestoreOnFailure {
		return ""
	}
	return strings.Join(t.Exec, "\x00") + "\x00\x00" + t.ExecTimeout.String()
}
