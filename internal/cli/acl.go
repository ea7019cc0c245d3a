package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

func (a *App) newACL(g *globals) *cobra.Command {
	var keys listValue
	var node string
	cmd := a.with(g, "acl", uses("prefix json"), func(_ context.Context, s *session) (report, error) {
		role := strings.Join(s.args, " ")
		if !slices.Contains(roles(), role) {
			return nil, fmt.Errorf("%s is not a role; name publisher, node, operator or hub", kv.Quote(role))
		}
		return s.acl(role, keys, node)
	})
	cmd.Args, cmd.ValidArgs = cobra.ArbitraryArgs, roles()
	cmd.Flags().VarP(&keys, "key", "k", "`key` that the role uses; can be repeated")
	cmd.Flags().StringVar(&node, "node", "", "`name` of the node (default: this machine's host name)")
	return cmd
}

func roles() []string { return []string{"publisher", "node", "operator", "hub"} }

func (s *session) acl(role string, keys []string, node string) (report, error) {
	l := s.layout
	if role == "hub" {
		if len(keys) > 0 {
			return nil, errors.New("the role hub reads all keys; leave out -k")
		}
		return rolePolicy{role: role, rules: []rule{
			{"key_prefix", l.Prefix() + "/", "read", "content, stops and locks"},
			{"key_prefix", l.NodesDir(), "write", "receipts, to keep those of its agents"},
			{"key_prefix", l.EventsDir(), "read", "who set stops and locks"},
		}}, nil
	}
	if role == "operator" && len(keys) == 0 {
		return rolePolicy{role: role, rules: []rule{
			{"key_prefix", l.Prefix() + "/", "read", "content, stops and past versions"},
			{"key_prefix", l.LocksDir(), "write", "the locks of files"},
			{"key_prefix", l.NodesDir(), "write", "receipts, to read them and to forget a node"},
			{"key_prefix", l.EventsDir(), "write", "who acted"},
		}}, nil
	}
	node, err := kv.ParseNode(cmp.Or(node, s.host))
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		keys = []string{""} // s.key refuses it
	}
	p := rolePolicy{role: role}
	for _, key := range keys {
		k, err := s.key(key)
		if err != nil {
			return nil, err
		}
		p.keys = append(p.keys, string(k))
		for _, r := range s.rules(role, k, node) {
			if !slices.Contains(p.rules, r) {
				p.rules = append(p.rules, r)
			}
		}
	}
	return p, nil
}

// rules are the rights of a role to one key.
func (s *session) rules(role string, k kv.Key, node string) (rules []rule) {
	l := s.layout
	switch role {
	case "publisher":
		rules = []rule{
			{"key_prefix", l.Dir(k), "write", "content, checksum, manifest and stop"},
			{"key_prefix", l.HistoryDir(k), "write", "past versions"},
			{"key_prefix", l.NodesDir(), "read", "receipts, to count nodes and to see the rollout"},
			{"key", l.Events(k), "write", "who acted on the key"},
		}
		for _, up := range k.Ancestors() {
			rules = append(rules, rule{"key", l.Checksum(up), "read", "to check that the key is not nested in another"})
		}
	case "node":
		rules = []rule{
			{"key_prefix", l.Dir(k), "read", "content, checksum, manifest and stop"},
			{"key_prefix", l.LocksDir(), "read", "the locks of files"},
			{"key", l.Node(node), "write", "the receipt of this node"},
		}
	case "operator":
		rules = []rule{
			{"key_prefix", l.LocksDir(), "write", "the locks of files"},
			{"key", l.Stop(k), "write", "the stop"},
			{"key", l.Checksum(k), "write", "checksum, to wake watches after a stop"},
			{"key_prefix", l.Dir(k), "read", "content"},
			{"key_prefix", l.HistoryDir(k), "read", "past versions"},
			{"key_prefix", l.NodesDir(), "write", "receipts, to read them and to forget a node"},
			{"key", l.Events(k), "write", "who acted on the key"},
			{"key", l.Events(hold.NodeEvents), "write", "who acted on nodes"},
		}
	}
	return rules
}

// rule is one rule of Consul's policy language.
type rule struct{ kind, path, grant, why string }

type rolePolicy struct {
	role  string
	keys  []string
	rules []rule
}

func (p rolePolicy) lines() []string {
	out := []string{fmt.Sprintf("# kvexpress: %s of %s", p.role, cmp.Or(strings.Join(p.keys, ", "), "all keys"))}
	for _, r := range p.rules {
		out = append(out, "# "+r.why, fmt.Sprintf("%s %q {\n  policy = %q\n}", r.kind, r.path, r.grant))
	}
	return out
}

func (p rolePolicy) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"role": p.role, "keys": p.keys, "policy": strings.Join(p.lines(), "\n")})
}
