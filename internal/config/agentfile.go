// Package config reads the agent's configuration, agent.yml with its fragments, and the file of -C into checked values.
// Of this module it imports kv, command, install and wait.
package config

import (
	"strings"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// Config is the configuration of an agent. All values are checked, and defaults are set.
type Config struct {
	Store     Store
	Hubs      Hubs
	Labels    map[string]string // of this node, for hubs; nil without
	Layout    kv.Layout
	Node      string        // name of this node in the store
	StateDir  string        // absolute
	Listen    string        // a path (Unix socket), host:port, or "" for none
	Reconcile time.Duration // interval between two runs over each target when nothing changes
	Receipts  bool          // report outcomes to the store
	Output    bool          // send the output of failed commands to hubs
	Targets   []Target      // in the order of the files
	Files     []string      // the file itself, then its fragments by name
}

// Store has the addresses of Consul and the credentials. Consul's environment variables replace empty fields.
type Store struct {
	Addrs      []string // at least one; the next is used if one is unreachable
	TokenFile  string
	CAFile     string
	ClientCert string
	ClientKey  string
	ServerName string // name in the server's certificate, if it differs from the address
	Datacenter string
	Namespace  string
	Partition  string
}

// Hubs are the hubs that an agent follows.
type Hubs struct {
	Addrs      []string // host:port or the absolute path of a socket; none: the agent asks the store
	CAFile     string   // "": hubs without TLS, on this machine only
	ServerName string   // name in the hubs' certificates, if it differs from the address
	ClientCert string
	ClientKey  string
	Direct     bool // while no hub can be reached, ask the store
}

// Target is one file, with the agent's rules for it.
type Target struct {
	install.Target
	// Spread is the longest delay of a new version on a node. The delay depends on the node's name alone. A first
	// install has none.
	Spread time.Duration
	// ExecEvery is the minimum time between two runs of the exec, for all targets with the same exec together; 0: none.
	ExecEvery time.Duration
	At        string // where it is defined, for messages: "agent.yml:12"
}

// ExecGroup is equal for targets that share one run of their exec. It is "" for a target without an exec or with
// restore_on_failure, which runs its exec alone.
func (t Target) ExecGroup() string {
	if len(t.Exec) == 0 || t.RestoreOnFailure {
		return ""
	}
	return strings.Join(t.Exec, "\x00") + "\x00\x00" + t.ExecTimeout.String()
}
