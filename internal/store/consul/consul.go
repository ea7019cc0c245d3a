// Package consul implements kv.Store with Consul's HTTP API. It owns the requests, the checks of answers, and the table that
// turns a failed request into a kind of error, words and a remedy. Of this module it imports kv and safetext.
//
// It does not use Consul's Go client. Two endpoints are enough, the client adds a millisecond to each start of the program, a
// fifth of a whole `out`, and it reports failures as texts without a status.
package consul

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// Options name the Consul to use and the credentials. An empty field falls back to Consul's environment variables
// (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, CONSUL_CACERT …), then to Consul's defaults.
type Options struct {
	// Addr is host:port, http://…, https://… or unix:///path; the default is localhost:8500.
	Addr string
	// Token is the ACL token. It wins over the token and the token file of the environment.
	Token string
	// TokenFile holds the ACL token, and wins over Token, as in Consul's own commands. Each request reads it again.
	TokenFile string
	// Datacenter is the datacenter to query; the default is the agent's own.
	Datacenter string
	// CAFile, ClientCert, ClientKey and ServerName are for https.
	CAFile, ClientCert, ClientKey, ServerName string
	// Namespace and Partition exist in Consul Enterprise only.
	Namespace, Partition string
	// Lasting is for a daemon: connections are kept for longer, take less memory, and have keep-alives.
	Lasting bool
	// Bare ignores the environment variables.
	Bare bool
	// File is the configuration file that names the store. Remedies name it; without one, they name flags and variables.
	File string
	// Timeout limits the wait for the head of an answer, and again the time to read its body; the default is 10 s.
	Timeout time.Duration
}

const (
	defaultAddr    = "localhost:8500"
	defaultTimeout = 10 * time.Second
)

// Store implements kv.Store. It needs Consul 1.14 or newer.
type Store struct {
	target  target
	env     settings
	query   url.Values  // goes with every request
	header  http.Header // goes with every request, beside the token
	token   *token
	timeout time.Duration
	// A transport, unlike a client, follows no redirects, which would take the token elsewhere.
	transport   *http.Transport
	clock       clock
	longestWait atomic.Int64 // in nanoseconds, see learn; 0: no limit is known
}

var (
	_ kv.Store = (*Store)(nil)
	_ kv.Clock = (*Store)(nil)
)

// Token returns the ACL token that New would use, for a hub; "" is the anonymous token. It reads the token file, and registers
// the token for redaction.
func Token(o Options) (string, error) {
	env, err := o.settled()
	if err != nil {
		return "", err
	}
	token, err := chooseToken(env)
	safetext.Hide(token)
	return token, err
}

// New returns a Store and sends nothing. It fails if the address, the token file or a certificate cannot be used.
func New(o Options) (*Store, error) {
	env, err := o.settled()
	if err != nil {
		return nil, err
	}
	to, err := parseAddr(env.Addr, env.scheme)
	if err != nil {
		return nil, err
	}
	first, err := chooseToken(env)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(to, env)
	if err != nil {
		return nil, err
	}
	s := &Store{target: to, env: env, query: url.Values{}, timeout: o.Timeout, transport: transport}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	for name, value := range map[string]string{"dc": o.Datacenter, "ns": env.Namespace, "partition": env.Partition} {
		if value != "" {
			s.query.Set(name, value)
		}
	}
	s.token, s.header = newToken(env, first), credentials(env.auth)
	return s, nil
}

// Addr returns the address for people: host:port, https://host:port or unix:///path.
func (s *Store) Addr() string { return s.target.String() }

// refuse returns the error of a request that is not sent, or that Consul refused.
func (s *Store) refuse(what string, kind error, format string, args ...any) error {
	return s.failed(what, false, &failure{kind: kind, cause: fmt.Errorf(format, args...)})
}

// failed returns the error of a request that failed. A write that may have run has an unknown outcome.
func (s *Store) failed(what string, write bool, f *failure) error {
	row, m := s.diagnose(f.kind, f.cause)
	e := &kv.StoreError{Op: what, Addr: s.Addr(), Kind: f.kind, Says: s.fill(row.says, m), Cause: f.cause,
		Remedy: s.fill(row.remedy, m), Final: row.final}
	if write && f.maybeRan && (!row.final || row.ran) {
		e.Kind = kv.ErrUnknownOutcome
	}
	return e
}

// describe names an operation and its paths: "read a/checksum and 3 more".
func describe(verb, first string, count int) string {
	if strings.ContainsFunc(first, func(r rune) bool { return r <= ' ' || r > '~' }) {
		first = kv.Quote(first)
	}
	if count > 1 {
		return fmt.Sprintf("%s %s and %d more", verb, first, count-1)
	}
	return verb + " " + first
}
