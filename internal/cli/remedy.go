package cli

import (
	"cmp"

	"github.com/spf13/pflag"

	"kvexpress/internal/kv"
)

// guide completes remedies with the flags of this command line.
func (s *session) guide() kv.Guide {
	g := kv.Guide{Key: string(s.k), Role: s.role}
	if s.cmd == nil {
		return g
	}
	role := map[string]string{"in": "publisher", "copy": "publisher", "rollback": "publisher", "out": "node",
		"raw": "hub", "stops": "hub", "locks": "hub"}[s.cmd.Name()]
	if s.cmd.Name() == "status" && s.k == "" {
		role = "hub"
	}
	g.Role = cmp.Or(g.Role, role, "operator")
	if g.Role == "node" {
		g.Role += " --node " + s.host // the remedy is often typed on another machine
	}
	names := map[string]string{"config": "-C", "server": "-s", "datacenter": "--datacenter", "prefix": "-p",
		"token-file": "--token-file"}
	s.cmd.Flags().Visit(func(f *pflag.Flag) {
		if name := names[f.Name]; name != "" {
			g.Flags = append(g.Flags, kv.Flag{Name: name, Value: f.Value.String()})
		}
		g.Token = g.Token || f.Name == "token"
	})
	return g
}
