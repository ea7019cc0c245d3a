//go:build linux

package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// Role is what a token is for. Each has one of its own.
type Role string

// The roles of the lab, besides those of the nodes and of Consul's own agents.
const (
	Publisher Role = "publisher" // kvexpress in, rollback
	Operator  Role = "operator"  // stop, resume, lock, unlock
	Renderer  Role = "renderer"  // consul-template, and consul lock around it
	Registrar Role = "registrar" // registers services
	Observer  Role = "observer"  // the lab itself, which looks on
)

// lockPrefix is where consul lock keeps who may render.
const lockPrefix = "locks/hosts-renderer"

// secrets are the tokens of a lab. They are made up before there is a Consul, since its
// configuration has those of its agents in it.
type secrets struct {
	management string
	roles      map[Role]string
	agents     map[string]string // by node name: Consul's agent itself
	nodes      map[string]string // by node name: kvexpress there
}

func newSecrets(servers, nodes []string) *secrets {
	s := &secrets{management: newSecret(), roles: map[Role]string{}, agents: map[string]string{}, nodes: map[string]string{}}
	for _, r := range []Role{Publisher, Operator, Renderer, Registrar, Observer} {
		s.roles[r] = newSecret()
	}
	for _, name := range servers {
		s.agents[name] = newSecret()
	}
	for _, name := range nodes {
		s.agents[name], s.nodes[name] = newSecret(), newSecret()
	}
	return s
}

// Management is the token with which Consul was set up. It may do everything.
func (l *Lab) Management() string { return l.secrets.management }

// newSecret is a random one in the form that Consul wants.
func newSecret() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// file keeps a token where only the lab's own user can read it.
func (l *Lab) tokenFile(name, secret string) (string, error) {
	path := filepath.Join(l.Dir, "tokens", name)
	return path, os.WriteFile(path, []byte(secret+"\n"), 0o600)
}

// makeTokens gives Consul the tokens, each with the policy of its role. What kvexpress
// needs, it says itself.
func (l *Lab) makeTokens(ctx context.Context) error {
	rules := map[Role]string{
		// consul lock asks the agent who it is, for the session of the lock.
		Renderer: rule("agent_prefix", "", "read") + rule("session_prefix", "", "write") + rule("key_prefix", lockPrefix, "write") +
			rule("node_prefix", "", "read") + rule("service_prefix", "", "read"),
		Registrar: rule("service_prefix", "", "write") + rule("node_prefix", "", "read"),
		Observer:  rule("service_prefix", "", "read") + rule("node_prefix", "", "read") + rule("key_prefix", "", "read"),
	}
	for role, args := range map[Role][]string{Publisher: {"publisher"}, Operator: {"operator"}} {
		text, err := l.policy(ctx, args...)
		if err != nil {
			return err
		}
		rules[role] = text
	}
	for role, text := range rules {
		if err := l.makeToken(ctx, string(role), l.secrets.roles[role], text); err != nil {
			return err
		}
	}
	for name, secret := range l.secrets.agents {
		// A node identity is Consul's own policy for its agents.
		token := map[string]any{
			"SecretID": secret, "Description": "consul agent " + name,
			"NodeIdentities": []any{map[string]any{"NodeName": name, "Datacenter": "dc1"}},
		}
		if err := l.manage(ctx, "/v1/acl/token", token); err != nil {
			return err
		}
	}
	for name, secret := range l.secrets.nodes {
		text, err := l.policy(ctx, "node", "--node", name)
		if err != nil {
			return err
		}
		if err := l.makeToken(ctx, "node-"+name, secret, text); err != nil {
			return err
		}
	}
	return nil
}

// rule is one of Consul's policy language.
func rule(kind, what, may string) string {
	return fmt.Sprintf("%s %q {\n  policy = %q\n}\n", kind, what, may)
}

// policy is what kvexpress says that a role needs.
func (l *Lab) policy(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.tools.Kvexpress, append([]string{"acl", "-k", Key}, args...)...)
	cmd.Env = environ()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kvexpress acl %v: %w", args, err)
	}
	return string(out), nil
}

func (l *Lab) makeToken(ctx context.Context, name, secret, rules string) error {
	policy := map[string]any{"Name": "lab-" + name, "Rules": rules}
	if err := l.manage(ctx, "/v1/acl/policy", policy); err != nil {
		return err
	}
	token := map[string]any{"SecretID": secret, "Description": name, "Policies": []any{map[string]any{"Name": "lab-" + name}}}
	return l.manage(ctx, "/v1/acl/token", token)
}

// manage puts something into a server that runs, as whoever set Consul up.
func (l *Lab) manage(ctx context.Context, path string, in any) error {
	return l.api.do(ctx, http.MethodPut, "http://"+l.up().Addr+path, l.secrets.management, in, nil)
}

// Allow gives a role other rules than it had, and returns those. Consul's servers know
// that at once, but a query that waits goes on with the old ones until its end.
func (l *Lab) Allow(ctx context.Context, role Role, rules string) (before string, err error) {
	var policy struct{ ID, Name, Rules string }
	url := "http://" + l.up().Addr + "/v1/acl/policy/name/lab-" + string(role)
	if err := l.api.do(ctx, http.MethodGet, url, l.secrets.management, nil, &policy); err != nil {
		return "", err
	}
	before, policy.Rules = policy.Rules, rules
	return before, l.manage(ctx, "/v1/acl/policy/"+policy.ID, policy)
}
