package hosts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvexpress/lab/proc"
)

// The roles of the lab, besides those of the nodes and of Consul's own agents. Each has
// a token of its own.
const (
	Publisher  = "publisher" // kvexpress in, rollback
	Operator   = "operator"  // stop, resume, lock, unlock
	Renderer   = "renderer"  // consul-template, and consul lock around it
	Registrar  = "registrar" // registers services
	Observer   = "observer"  // the lab itself, which only reads
	HubRole    = "hub"       // the hubs
	management = "management"
)

// lockPrefix is the prefix of the lock of consul lock.
const lockPrefix = "locks/hosts-renderer"

// agentOf is the name of the token of a machine's Consul agent.
func agentOf(machine string) string { return "consul-" + machine }

// keys are those that tokens are for.
func (f *Fleet) keys() []string { return []string{Key, KeyAdHoc}[:1+min(1, f.Options.Agents)] }

// prepareTokens makes up all tokens before there is a Consul, since its configuration
// holds some of them. `kvexpress acl` prints the policies of kvexpress.
func (f *Fleet) prepareTokens(ctx context.Context) error {
	read := rule("node_prefix", "", "read") + rule("service_prefix", "", "read")
	f.rules = map[string]string{
		management: "",
		// consul lock asks the agent who it is, for the session of the lock.
		Renderer: read + rule("agent_prefix", "", "read") + rule("session_prefix", "", "write") +
			rule("key_prefix", lockPrefix, "write"),
		Registrar: rule("service_prefix", "", "write") + rule("node_prefix", "", "read"),
		Observer:  read + rule("key_prefix", "", "read"),
	}
	const anyNode = "node-0000"
	var ofNode string
	for _, k := range f.keys() {
		for role, more := range map[string][]string{Publisher: nil, Operator: nil, "node": {"--node", anyNode}} {
			text, err := f.Set.Run(ctx, nil, append([]string{f.Tools.Kvexpress, "acl", role, "-k", k}, more...)...)
			if err != nil {
				return err
			}
			if role == "node" {
				ofNode += text
			} else {
				f.rules[role] += text
			}
		}
	}
	var err error
	if f.rules[HubRole], err = f.Set.Run(ctx, nil, f.Tools.Kvexpress, "acl", "hub"); err != nil {
		return err
	}
	machines := f.Agents()
	for _, s := range f.Servers {
		machines = append(machines, s.Name)
	}
	for _, n := range f.Nodes {
		machines = append(machines, n.Name)
	}
	for _, m := range machines {
		f.rules[agentOf(m)] = rule("node", m, "write") + rule("service_prefix", "", "read")
		f.rules[m] = strings.ReplaceAll(ofNode, anyNode, m)
	}
	for name := range f.rules {
		var b [16]byte
		_, _ = rand.Read(b[:])                                                                 // never fails
		f.tokens[name] = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]) // as Consul wants it
		if err := os.WriteFile(f.TokenFile(name), []byte(f.tokens[name]+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// TokenFile is the file of a token.
func (f *Fleet) TokenFile(name string) string { return filepath.Join(f.Dir, "tokens", name) }

// makeTokens gives Consul the tokens, each with a policy of its own, and comes back when
// all servers know them.
func (f *Fleet) makeTokens(ctx context.Context) error {
	one := func(name string) error {
		policy := map[string]any{"Name": "lab-" + name, "Rules": f.rules[name]}
		if err := f.manage(ctx, http.MethodPut, "/v1/acl/policy", policy, nil); err != nil {
			return err
		}
		token := map[string]any{"SecretID": f.tokens[name], "Policies": []any{map[string]any{"Name": "lab-" + name}}}
		return f.manage(ctx, http.MethodPut, "/v1/acl/token", token, nil)
	}
	names := slices.DeleteFunc(slices.Collect(maps.Keys(f.rules)), func(name string) bool {
		return name == management || name == Observer
	})
	if err := errors.Join(proc.Each(names, one), one(Observer)); err != nil {
		return err
	}
	// Servers take writes in one order: one that knows the last token knows all.
	return proc.Each(f.Servers, func(s *Server) error {
		return proc.Poll(ctx, s.Name+" to know the tokens", func() error {
			return f.call(ctx, s.Addr, f.tokens[Observer], http.MethodGet, "/v1/acl/token/self?stale", nil, nil)
		})
	})
}

// rule is one of Consul's policy language.
func rule(kind, what, may string) string {
	return fmt.Sprintf("%s %q {\n  policy = %q\n}\n", kind, what, may)
}
