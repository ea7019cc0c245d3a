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
	cmd := a.with(g, &cobra.Command{
		Use:   "acl publisher|node|operator|exporter [-k KEY]...",
		Short: "Print the Consul policy that a role needs",
		Long: `Print the Consul policy that a role needs, and no more:

  publisher   publishes the key, rolls it back, stops and resumes it, sees where it
              arrived
  node        installs the key, and reports as itself
  operator    locks and unlocks files, stops and resumes the key, reads its history,
              sees what nodes report, and forgets them; without -k it reads all keys and
              stops none
  exporter    sees all keys, stops and locks, and what nodes report; it takes no key`,
		Example: `  kvexpress acl publisher -k hosts | consul acl policy create -name kvexpress-hosts-publisher -rules -
  kvexpress acl node -k hosts -k nginx --node web-17`,
		Args:        cobra.ArbitraryArgs,
		ValidArgs:   []string{"publisher", "node", "operator", "exporter"},
		Annotations: uses("prefix json"),
	}, func(_ context.Context, s *session, args []string) (report, error) {
		if len(args) != 1 {
			return nil, errors.New("name one role: publisher, node, operator or exporter")
		}
		return s.acl(args[0], keys, node)
	})
	cmd.Flags().VarP(&keys, "key", "k", "`key` that the role uses; can be repeated")
	cmd.Flags().StringVar(&node, "node", "", "`name` of the node (default: this machine's host name)")
	return cmd
}

func (s *session) acl(role string, keys []string, node string) (report, error) {
	l := s.layout
	if role == "exporter" {
		if len(keys) > 0 {
			return nil, errors.New("the exporter is about all keys; leave out -k")
		}
		return rolePolicy{role: role, rules: []rule{
			{"key_prefix", l.Prefix() + "/", "read", "what is published, stops and locks"},
			{"key_prefix", l.NodesDir(), "read", "what nodes report"},
			{"key_prefix", l.EventsDir(), "read", "who set stops and locks"},
		}}, nil
	}
	if role == "operator" && len(keys) == 0 {
		return rolePolicy{role: role, rules: []rule{
			{"key_prefix", l.Prefix() + "/", "read", "what is published, stops and past versions"},
			{"key_prefix", l.LocksDir(), "write", "the locks of files"},
			{"key_prefix", l.NodesDir(), "write", "what nodes report, to see it and to forget a node"},
			{"key_prefix", l.EventsDir(), "write", "who acted"},
		}}, nil
	}
	node, err := kv.ParseNode(cmp.Or(node, s.host))
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		keys = []string{""} // refused as everywhere
	}
	p := rolePolicy{role: role}
	for _, key := range keys {
		k, err := s.key(key)
		if err != nil {
			return nil, err
		}
		rules, err := s.rules(role, k, node)
		if err != nil {
			return nil, err
		}
		p.keys = append(p.keys, string(k))
		for _, r := range rules {
			if !slices.Contains(p.rules, r) {
				p.rules = append(p.rules, r)
			}
		}
	}
	return p, nil
}

// rules returns what a role needs for one key.
func (s *session) rules(role string, k kv.Key, node string) (rules []rule, err error) {
	l := s.layout
	switch role {
	case "publisher":
		rules = []rule{
			{"key_prefix", l.Dir(k), "write", "the content, its checksum and manifest, and the stop"},
			{"key_prefix", l.HistoryDir(k), "write", "past versions"},
			{"key_prefix", l.NodesDir(), "read", "how many nodes there are, and whether it arrived"},
			{"key", l.Events(k), "write", "who acted on the key"},
		}
		for _, up := range k.Ancestors() {
			rules = append(rules, rule{"key", l.Checksum(up), "read", "to see that the key is not nested in another"})
		}
	case "node":
		rules = []rule{
			{"key_prefix", l.Dir(k), "read", "the content, its checksum and manifest, and the stop"},
			{"key_prefix", l.LocksDir(), "read", "the locks of files"},
			{"key", l.Node(node), "write", "what this node reports, as nobody else"},
		}
	case "operator":
		rules = []rule{
			{"key_prefix", l.LocksDir(), "write", "the locks of files"},
			{"key", l.Stop(k), "write", "the stop"},
			{"key", l.Checksum(k), "write", "the checksum, to wake watches after a stop"},
			{"key_prefix", l.Dir(k), "read", "what is published"},
			{"key_prefix", l.HistoryDir(k), "read", "past versions"},
			{"key_prefix", l.NodesDir(), "write", "what nodes report, to see it and to forget a node"},
			{"key", l.Events(k), "write", "who acted on the key"},
			{"key", l.Events(hold.NodeEvents), "write", "who acted on nodes"},
		}
	default:
		return nil, fmt.Errorf("%s is not a role; name publisher, node, operator or exporter", kv.Quote(role))
	}
	return rules, nil
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
