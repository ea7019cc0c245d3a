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

	"kvexpress/internal/kv"
)

func (a *App) newACL(g *globals) *cobra.Command {
	var keys listValue
	var node string
	var noReceipt, rollouts bool
	cmd := a.with(g, "acl", uses("prefix json"), func(_ context.Context, s *session) (report, error) {
		role := strings.Join(s.args, " ")
		if !slices.Contains(roles(), role) {
			return nil, fmt.Errorf("%s is not a role; name publisher, node, operator or hub", kv.Quote(role))
		}
		if noReceipt && role != "node" {
			return nil, errors.New("--no-receipt is for the role node; leave it out")
		}
		if rollouts && role != "hub" {
			return nil, errors.New("--rollouts is for the role hub; leave it out")
		}
		return s.acl(role, keys, node, noReceipt, rollouts)
	})
	cmd.Args, cmd.ValidArgs = cobra.ArbitraryArgs, roles()
	cmd.Flags().VarP(&keys, "key", "k", "`key` that the role uses, or a pattern with * at its end, such as 'app/*'; can be repeated")
	cmd.Flags().StringVar(&node, "node", "", "`name` of the node (default: this machine's host name)")
	cmd.Flags().BoolVar(&noReceipt, "no-receipt", false, "leave out the receipt of the node: for hubs with node_from: certificate")
	cmd.Flags().BoolVar(&rollouts, "rollouts", false, "let the hub run rollouts: it may publish every key")
	return cmd
}

func roles() []string { return []string{"publisher", "node", "operator", "hub"} }

func (s *session) acl(role string, keys []string, node string, noReceipt, rollouts bool) (report, error) {
	l := s.layout
	if role == "hub" {
		if len(keys) > 0 {
			return nil, errors.New("the role hub reads all keys; leave out -k")
		}
		grant, content, row, events := "read", "content, stops and locks", "which nodes get a candidate", "who set stops and locks"
		if rollouts {
			grant, content = "write", "content, stops and locks; to make candidates current"
			row, events = "which nodes get a candidate, to move rollouts on", "who set stops and locks, and how rollouts ended"
		}
		return rolePolicy{role: role, rules: []rule{
			{"key_prefix", l.Prefix() + "/", grant, content},
			{"key_prefix", l.NodesDir(), "write", "receipts, to keep those of its agents"},
			{"key_prefix", l.RolloutsDir(), grant, row},
			{"key_prefix", l.EventsDir(), grant, events},
		}}, nil
	}
	if role == "operator" && len(keys) == 0 {
		return rolePolicy{role: role, rules: []rule{
			{"key_prefix", l.Prefix() + "/", "read", "content, stops and past versions"},
			{"key_prefix", l.LocksDir(), "write", "the locks of files"},
			{"key_prefix", l.NodesDir(), "write", "receipts, to read them and to forget a node"},
			{"key_prefix", l.RolloutsDir(), "write", "rollouts"},
			{"key_prefix", l.EventsDir(), "write", "who acted"},
		}}, nil
	}
	node, err := kv.ParseNode(cmp.Or(node, s.host))
	if err != nil {
		return nil, err
	}
	if noReceipt {
		node = ""
	}
	if len(keys) == 0 {
		keys = []string{""} // parseScope refuses it
	}
	p := rolePolicy{role: role}
	for _, key := range keys {
		scope, err := s.scope(key)
		if err != nil {
			return nil, err
		}
		p.keys = append(p.keys, scope.name)
		p.rules = append(p.rules, scope.rules(role, node)...)
		for _, more := range scope.excess(role) {
			p.excess = append(p.excess, scope.name+": "+more)
		}
	}
	p.simplify()
	return p, nil
}

// rule is one rule of Consul's policy language.
type rule struct{ kind, path, grant, why string }

type rolePolicy struct {
	role   string
	keys   []string
	rules  []rule
	excess []string // rights that the role does not need
}

// simplify removes rules that another one includes.
func (p *rolePolicy) simplify() {
	var kept []rule
	for i, r := range p.rules {
		if !slices.ContainsFunc(p.rules[:i], r.equals) && !slices.ContainsFunc(p.rules, r.within) {
			kept = append(kept, r)
		}
	}
	p.rules = kept
}

func (r rule) equals(o rule) bool { return r.kind == o.kind && r.path == o.path && r.grant == o.grant }

// within reports whether another rule includes a rule.
func (r rule) within(o rule) bool {
	wider := o.kind == "key_prefix" && strings.HasPrefix(r.path, o.path) && (r.kind == "key" || r.path != o.path)
	same := r.kind == o.kind && r.path == o.path && r.grant != o.grant
	if wider && r.grant == "read" && r.path == o.path+"policy" {
		return false // it takes a right away: the longest path counts
	}
	return (wider || same) && (o.grant == "write" || o.grant == r.grant)
}

func (p rolePolicy) lines() []string {
	out := []string{fmt.Sprintf("# kvexpress: %s of %s", p.role, cmp.Or(strings.Join(p.keys, ", "), "all keys"))}
	for _, more := range p.excess {
		out = append(out, "# more than the role needs: "+more)
	}
	for _, r := range p.rules {
		out = append(out, "# "+r.why, fmt.Sprintf("%s %q {\n  policy = %q\n}", r.kind, r.path, r.grant))
	}
	return out
}

func (p rolePolicy) MarshalJSON() ([]byte, error) {
	return json.Marshal(policyJSON{p.role, append([]string{}, p.keys...), append([]string{}, p.excess...),
		strings.Join(p.lines(), "\n")})
}

// policyJSON is a policy for --json.
type policyJSON struct {
	Role   string   `json:"role"`
	Keys   []string `json:"keys"`
	Excess []string `json:"excess"` // rights that the role does not need
	Policy string   `json:"policy"` // in Consul's language
}
