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
	client bool
	expect int      // servers to wait for; 0 is a server in memory (-dev)
	join   []string // addresses of agents
	env    []string
	config map[string]any
	token  string // the management token; "" means no ACLs
}

// WithConfig adds entries to Consul's JSON configuration, such as watches, limits or
// disable_remote_exec. Consul merges its objects with those of the defaults.
func WithConfig(config map[string]any) Option {
	return func(o *options) { maps.Copy(o.config, config) }
}

// WithServer makes the agent one of expect servers, with a data folder. With
// more than one expected, Start does not wait for a leader: there is none
// before the others are up. Call Ready then.
func WithServer(expect int) Option {
	return func(o *options) { o.expect = expect }
}

// WithClientOf makes the agent a client of a server.
func WithClientOf(server *Server) Option {
	return func(o *options) { o.client, o.join = true, []string{server.host} }
}

// WithData gives a lone server a data folder, Dir/data, in place of its memory:
// what it acknowledged survives Kill and Restart.
func WithData() Option { return WithServer(1) }

// WithEnv adds NAME=VALUE pairs to the agent's environment. It has the test's
// own, without the CONSUL_ variables.
func WithEnv(env ...string) Option {
	return func(o *options) { o.env = append(o.env, env...) }
}

// WithACL switches ACLs on: without a token nothing is allowed, and
// Server.ManagementToken may do everything. Agents that share the Option share
// the token.
func WithACL() Option {
	token := newUUID()
	return func(o *options) { o.token = token }
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
