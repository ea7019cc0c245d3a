// Package consul is the kv.Store that lives in Consul. It owns what is sent, how
// an answer is judged, and the translation of failures into the sentinels of
// package kv. Of this module it imports kv and safetext.
//
// It does not use Consul's Go client. Two requests are all that is needed, and
// the client takes a millisecond of each start of the program, a fifth of a whole
// `out`; its answers to failures are texts without a status.
package consul

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kvexpress/internal/kv"
)

// Options say which Consul to talk to, and as whom. An empty field falls back
// to Consul's environment (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN,
// CONSUL_HTTP_TOKEN_FILE, CONSUL_CACERT …), then to Consul's defaults.
type Options struct {
	// Addr is host:port, http://…, https://… or unix:///path; the default is
	// localhost:8500.
	Addr string
	// Token is the ACL token. Given here, it wins over the environment's token
	// and over the environment's token file.
	Token string
	// TokenFile holds the ACL token, and wins over Token, as in Consul's own
	// commands. It is read once, in New.
	TokenFile string
	// Datacenter is the one to ask; the default is the agent's own.
	Datacenter string
	// CAFile, ClientCert, ClientKey and ServerName are for https.
	CAFile, ClientCert, ClientKey, ServerName string
	// Namespace and Partition are those of Consul Enterprise.
	Namespace, Partition string
	// Lasting is for a program that stays: connections are kept for longer,
	// take less memory, and are tried when nothing arrives.
	Lasting bool
	// Bare takes nothing from the environment: the store is our own, and not the one
	// that it speaks of.
	Bare bool
	// File is the configuration that names the store, for remedies; without one, flags and environment do.
	File string
	// Timeout is the most that one request may take; the default is 10 s.
	Timeout time.Duration
}

const (
	defaultAddr    = "localhost:8500"
	defaultTimeout = 10 * time.Second
)

// Store is a kv.Store in Consul. It needs Consul 1.14 or newer.
type Store struct {
	target  target
	env     settings
	query   url.Values  // goes with every request
	header  http.Header // goes with every request; holds the token
	timeout time.Duration
	// A bare transport follows no redirects: the token must not travel.
	transport *http.Transport
	clock     clock
	waits     longest
}

var (
	_ kv.Store  = (*Store)(nil)
	_ kv.Putter = (*Store)(nil)
	_ kv.Clock  = (*Store)(nil)
)

// New makes a Store. Nothing is sent yet. The error tells of an address, a
// token file or a certificate that cannot be used.
func New(o Options) (*Store, error) {
	env, err := o.settled()
	if err != nil {
		return nil, err
	}
	to, err := parseAddr(env.Addr, env.scheme)
	if err != nil {
		return nil, err
	}
	token, err := chooseToken(env)
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
	s.header = credentials(token, env.auth)
	return s, nil
}

// Addr is where the store is, for people: host:port, https://host:port or
// unix:///path.
func (s *Store) Addr() string { return s.target.String() }

// refuse is the error of a request that is not sent, or whose answer is known.
func (s *Store) refuse(what string, kind error, format string, args ...any) error {
	return s.failed(what, false, &failure{kind: kind, cause: fmt.Errorf(format, args...)})
}

// failed is the error of a request that failed on its way.
func (s *Store) failed(what string, write bool, f *failure) error {
	row, m := s.diagnose(f.kind, f.cause)
	e := &kv.StoreError{Op: what, Addr: s.Addr(), Kind: f.kind, Says: s.fill(row.says, m), Cause: f.cause,
		Remedy: s.fill(row.remedy, m), Final: row.final}
	if write && f.maybeRan && (!row.final || row.ran) {
		e.Kind = kv.ErrUnknownOutcome
	}
	return e
}

// describe says what is done to which paths: "read a/checksum and 3 more".
func describe(verb, first string, count int) string {
	if strings.ContainsFunc(first, func(r rune) bool { return r <= ' ' || r > '~' }) {
		first = kv.Quote(first)
	}
	if count > 1 {
		return fmt.Sprintf("%s %s and %d more", verb, first, count-1)
	}
	return verb + " " + first
}
