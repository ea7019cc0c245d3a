package consultest

import (
	"crypto/rand"
	"fmt"
	"maps"
)

// Option changes how an agent is started. An Option may be used for several
// agents.
type Option func(*options)

type options struct {
	bind   string
	client bool
	expect int // servers to wait for; 0 is a server in memory (-dev)
	join   []string
	env    []string
	config map[string]any
	token  string // the management token; "" means no ACLs
}

func newOptions(opts []Option) options {
	o := options{bind: "127.0.0.1", config: map[string]any{}}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// WithConfig merges entries of Consul's JSON configuration, such as watches,
// limits or disable_remote_exec, over the defaults. Objects are merged, other
// values replaced.
func WithConfig(config map[string]any) Option {
	return func(o *options) { o.config = merge(o.config, config) }
}

// WithJoin makes the agent join the agents at these addresses: their SerfAddr.
func WithJoin(addrs ...string) Option {
	return func(o *options) { o.join = append([]string(nil), addrs...) }
}

// WithServer makes the agent one of expect servers, with a data folder. With
// more than one expected, Start does not wait for a leader: there is none
// before the others are up. Call Ready then.
func WithServer(expect int) Option {
	return func(o *options) { o.expect, o.client = expect, false }
}

// WithClient makes the agent a client. It needs WithJoin.
func WithClient() Option {
	return func(o *options) { o.client = true }
}

// WithData gives a lone server a data folder, Dir/data, in place of its memory:
// what it acknowledged survives Kill and Restart.
func WithData() Option { return WithServer(1) }

// WithEnv adds NAME=VALUE pairs to the agent's environment. It has the test's
// own, without the CONSUL_ variables.
func WithEnv(env ...string) Option {
	return func(o *options) { o.env = append(o.env[:len(o.env):len(o.env)], env...) }
}

// WithACL switches ACLs on: without a token nothing is allowed, and
// Server.ManagementToken may do everything. Agents that share the Option share
// the token.
func WithACL() Option {
	token := newUUID()
	return func(o *options) { o.token = token }
}

// merge returns base with over on top and changes neither.
func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for name, value := range over {
		was, wasObject := out[name].(map[string]any)
		is, isObject := value.(map[string]any)
		if wasObject && isObject {
			value = merge(was, is)
		}
		out[name] = value
	}
	return out
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
