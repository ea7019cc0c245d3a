package consul

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"kvexpress/internal/kv"
)

// fault is a row of the table of causes: how to recognise one, its words, and its remedy.
type fault struct {
	name string
	fits func(symptom) bool
	kind error // of an answer; a network failure already has one
	// final: retrying does not help. Nothing was written, unless ran is set.
	final bool
	// ran: Consul may have executed the request.
	ran bool
	// says and remedy contain names in braces, which Store.fill replaces.
	says, remedy string
}

// symptom is the evidence of a failed request.
type symptom struct {
	store  *Store
	kind   error // a sentinel of package kv; nil if the table decides it
	err    error
	text   string // of the error or the answer, in lower case
	status int    // of the answer; 0 without one
}

// faults returns the table. The first row that fits counts. docs/troubleshooting.md lists it.
func faults() []fault {
	return []fault{
		{name: "canceled", fits: func(m symptom) bool { return errors.Is(m.err, context.Canceled) }},

		{name: "unknown CA", fits: caused[x509.UnknownAuthorityError], final: true,
			says:   "the server's certificate is signed by an unknown CA",
			remedy: "add the certificate of that CA to {ca}"},
		{name: "wrong name", fits: caused[x509.HostnameError], final: true,
			says:   "the server's certificate is not valid for {host}",
			remedy: "{other-name}"},
		{name: "expired certificate", fits: expired, final: true,
			says:   "the server's certificate has expired or is not yet valid",
			remedy: "renew the server's certificate, or correct this machine's clock"},
		{name: "bad certificate", fits: caused[*tls.CertificateVerificationError], final: true,
			says:   "the server's certificate cannot be verified",
			remedy: "`openssl s_client -connect {host-port} -showcerts` shows it; install a valid one on the server"},
		{name: "client certificate missing", fits: clientCert(false), final: true,
			says:   "the server requires a client certificate",
			remedy: "set {cert} to a certificate signed by the server's CA"},
		{name: "client certificate refused", fits: clientCert(true), final: true,
			says:   "the server rejects the client certificate",
			remedy: "set {cert} to a valid certificate signed by the server's CA"},
		{name: "old TLS", fits: broken("protocol version not supported", "unsupported protocol version"), final: true,
			says:   "the server and kvexpress have no TLS version in common",
			remedy: "allow TLS 1.2 in the server's configuration (Consul: tls_min_version)"},
		{name: "https to an http port", fits: caused[tls.RecordHeaderError], final: true,
			says:   "the server does not speak TLS on this port",
			remedy: "use {http}, or the https port of Consul"},
		{name: "http to an https port", fits: plainToTLS, kind: kv.ErrUnreachable, final: true,
			says:   "the server accepts only TLS on this port",
			remedy: "use {https}"},
		{name: "not HTTP", fits: broken("malformed http"), final: true, ran: true,
			says:   "the server does not speak HTTP on this port",
			remedy: "set Consul's HTTP port with {server}"},

		{name: "unknown host", fits: caused[*net.DNSError],
			says:   "the host name {host} cannot be resolved",
			remedy: "`getent hosts {host}` must print an address; correct DNS, or set another Consul with {server}"},
		{name: "no socket", fits: errno(syscall.ENOENT),
			says:   "the socket does not exist",
			remedy: "start Consul there, or set another address with {server}"},
		{name: "socket refused", fits: errno(syscall.EACCES), final: true,
			says:   "this user has no permission to open {addr}",
			remedy: "run kvexpress as a member of the socket's group"},
		{name: "connection refused", fits: errno(syscall.ECONNREFUSED),
			says:   "no process listens there",
			remedy: "start Consul there, or set another address with {server}"},
		{name: "no route", fits: errno(syscall.ENETUNREACH, syscall.EHOSTUNREACH),
			says:   "there is no route to the address",
			remedy: "check the address and the network, or set another Consul with {server}"},
		{name: "time-out", fits: timedOut, kind: kv.ErrUnreachable,
			remedy: "run `{curl}`; if it hangs too, check for a firewall or an overloaded Consul"},

		{name: "redirect", fits: status(300, 399), kind: kv.ErrNotStore,
			remedy: "`{curl}` shows the redirect; set Consul's own address with {server}"},
		{name: "proxy login", fits: status(401, 401), kind: kv.ErrDenied,
			says:   "a proxy in front of Consul requires a login",
			remedy: "set CONSUL_HTTP_AUTH to user:password"},
		{name: "unknown token", fits: status(403, 403, "acl not found"), kind: kv.ErrDenied,
			says:   "Consul does not know this token",
			remedy: "the token has expired, or belongs to another Consul; set a valid one with {token}"},
		{name: "missing permission", fits: status(403, 403, "permission denied"), kind: kv.ErrDenied},
		{name: "block_endpoints", fits: status(403, 403, "blocked by agent"), kind: kv.ErrDenied,
			says: "the Consul agent blocks this endpoint",
			remedy: "remove /v1/txn and /v1/kv/ from http_config.block_endpoints of the agent at {addr}, " +
				"or set another agent with {server}"},
		{name: "allow_write_http_from", fits: status(403, 403, "access is restricted"), kind: kv.ErrDenied,
			says: "the Consul agent accepts no writes from this machine, and kvexpress also reads with PUT /v1/txn",
			remedy: "add this machine's address to http_config.allow_write_http_from of the agent at {addr}, " +
				"or set another agent with {server}"},
		{name: "blocked by a proxy", fits: status(403, 403), kind: kv.ErrDenied,
			says:   "a proxy or firewall in front of Consul blocks the request",
			remedy: "allow /v1/txn and /v1/kv/ in the proxy at {addr}, or set Consul's own address with {server}"},
		{name: "too many connections", fits: status(429, 429, "connections"), kind: kv.ErrUnreachable,
			says:   "this machine has too many connections to Consul",
			remedy: "raise limits.http_max_conns_per_client of the agent at {addr}"},
		{name: "too many requests", fits: status(429, 429), kind: kv.ErrUnreachable,
			says:   "Consul limits the rate of requests",
			remedy: "raise limits.request_limits of the Consul servers"},
		{name: "too large", fits: status(413, 413), kind: kv.ErrTooLarge},
		{name: "namespace", fits: status(400, 400, "enterprise feature"), kind: kv.ErrRequest,
			says:   "this Consul has no namespaces or partitions (Consul Enterprise)",
			remedy: "unset {namespace}"},
		{name: "not Consul", fits: func(m symptom) bool { return m.status > 0 && m.status < 300 || m.status == 404 || m.status == 409 },
			kind:   kv.ErrNotStore,
			remedy: "`{curl}` shows the answer; log in to the network if it is a login page, or set Consul's address with {server}"},
		{name: "refused request", fits: status(400, 499), kind: kv.ErrRequest},
		{name: "no leader", fits: leaderless, kind: kv.ErrUnreachable,
			says:   "the Consul servers have no leader",
			remedy: "start Consul servers until more than half are alive; `consul members -http-addr={api}` lists them"},
		{name: "unknown datacenter", fits: status(500, 500, "no path to datacenter"), kind: kv.ErrUnreachable, final: true,
			says:   "Consul cannot reach a datacenter of this name",
			remedy: "`consul catalog datacenters -http-addr={api}` lists the datacenters; set one with {datacenter}"},
		{name: "server error", fits: status(500, 599), kind: kv.ErrUnreachable, ran: true,
			says:   "the server reports an error",
			remedy: "read the log of Consul or the proxy at {addr}"},

		{name: "invalid answer", fits: kind(kv.ErrNotStore), kind: kv.ErrNotStore,
			remedy: "`{curl}` shows the answer; set Consul's address with {server}"},
		{name: "no connection", fits: kind(kv.ErrUnreachable), kind: kv.ErrUnreachable,
			remedy: "run `{curl}`; if it fails too, check Consul and the network, or set another Consul with {server}"},
	}
}

// kind fits an error without another row.
func kind(sentinel error) func(symptom) bool {
	return func(m symptom) bool { return errors.Is(m.kind, sentinel) }
}

func caused[T error](m symptom) bool {
	_, ok := errors.AsType[T](m.err)
	return ok
}

// broken fits a connection that failed with one of these words.
func broken(words ...string) func(symptom) bool {
	return func(m symptom) bool { return m.status == 0 && m.mentions(words...) }
}

// status fits an answer with a status from least to most, and one of these words if there are any.
func status(least, most int, words ...string) func(symptom) bool {
	return func(m symptom) bool {
		return m.status >= least && m.status <= most && (len(words) == 0 || m.mentions(words...))
	}
}

func (m symptom) mentions(words ...string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(m.text, word) })
}

func errno(numbers ...syscall.Errno) func(symptom) bool {
	return func(m symptom) bool {
		return slices.ContainsFunc(numbers, func(n syscall.Errno) bool { return errors.Is(m.err, n) })
	}
}

func expired(m symptom) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](m.err)
	return ok && invalid.Reason == x509.Expired
}

// clientCert fits the alert of a server that rejects a client with a certificate (shown) or without one. Package crypto/tls
// reports it as text only.
func clientCert(shown bool) func(symptom) bool {
	return func(m symptom) bool {
		return m.status == 0 && shown == (m.store.env.ClientCert != "") &&
			strings.Contains(m.text, "remote error: tls: ") && m.mentions("certificate", "handshake failure")
	}
}

// plainToTLS fits the answers of Go and nginx, and a TLS alert.
func plainToTLS(m symptom) bool {
	return m.status == http.StatusBadRequest && m.mentions("http request to an https server", "sent to https port") ||
		m.status == 0 && m.mentions(`malformed http response "\x15\x03`)
}

func timedOut(m symptom) bool {
	if caused[noAnswerError](m) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](m.err)
	return ok && timeout.Timeout()
}

// leaderless fits the one 5xx that proves that nothing was written. Every election causes it. Consul reports it as text only.
func leaderless(m symptom) bool {
	return m.status >= 500 && strings.HasSuffix(strings.TrimSpace(m.text), "no cluster leader") ||
		m.status == 0 && strings.HasSuffix(m.text, "knows no leader")
}

// diagnose finds the row of a failure. Without one, the row is empty.
func (s *Store) diagnose(kind, err error) (fault, symptom) {
	m := symptom{store: s, kind: kind, err: err, text: strings.ToLower(err.Error())}
	if answer, ok := errors.AsType[*answerError](err); ok {
		m.status, m.text = answer.status, strings.ToLower(answer.text)
	}
	for _, f := range faults() {
		if f.fits(m) {
			return f, m
		}
	}
	return fault{}, m
}

// fill replaces the names in braces with the values of this store.
func (s *Store) fill(text string, m symptom) string {
	if !strings.Contains(text, "{") {
		return text
	}
	to := s.target
	base, curl, api := to.scheme+"://"+to.host+to.prefix, "curl -m 5 ", to.scheme+"://"+to.host+to.prefix
	switch {
	case to.socket != "":
		curl, api = "curl -m 5 --unix-socket "+to.socket+" ", to.String()
	case to.scheme == "https":
		curl = "curl -km 5 "
	}
	host, port := (&url.URL{Host: to.host}).Hostname(), cmp.Or((&url.URL{Host: to.host}).Port(), to.scheme)
	ssl := ""
	if s.env.scheme == "https" {
		ssl = " and unset CONSUL_HTTP_SSL"
	}
	pairs := []string{
		"{addr}", s.Addr(), "{host}", host, "{host-port}", net.JoinHostPort(host, port),
		"{curl}", curl + base + "/v1/status/leader", "{api}", api,
		"{http}", "{use}http://" + to.host + to.prefix + "{at}" + ssl, "{https}", "{use}https://" + to.host + to.prefix + "{at}",
	}
	if s.env.CAFile != "" {
		pairs = append(pairs, "{ca}", s.env.CAFile)
	}
	text = strings.ReplaceAll(text, "{other-name}", s.otherName(m.err, port))
	text = strings.NewReplacer(pairs...).Replace(text)
	return strings.NewReplacer(s.env.places()...).Replace(text)
}

// places names the setting for each name in braces: in the configuration file, or a flag or variable.
func (e settings) places() []string {
	if in := " in " + e.File; e.File != "" {
		address := "stores"
		if e.File == "hub.yml" {
			address = "store" // a hub has one
		}
		return []string{
			"{server}", address + in, "{use}", address + ": ", "{at}", in, "{token}", "token_file" + in,
			"{ca}", "a file that ca_file names" + in, "{cert}", "client_cert and client_key" + in,
			"{server-name}", "tls_server_name: ", "{datacenter}", "datacenter" + in, "{namespace}", "namespace and partition" + in,
		}
	}
	return []string{
		"{server}", "-s or CONSUL_HTTP_ADDR", "{use}", "-s ", "{at}", "", "{token}", "--token-file or CONSUL_HTTP_TOKEN",
		"{ca}", "a file that CONSUL_CACERT names", "{cert}", "CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY",
		"{server-name}", "CONSUL_TLS_SERVER_NAME=", "{datacenter}", "--datacenter",
		"{namespace}", "CONSUL_NAMESPACE and CONSUL_PARTITION",
	}
}

// otherName is the remedy that uses a name which the certificate has.
func (s *Store) otherName(err error, port string) string {
	wrong, ok := errors.AsType[x509.HostnameError](err)
	switch {
	case ok && len(wrong.Certificate.DNSNames) > 0 && !strings.Contains(wrong.Certificate.DNSNames[0], "*"):
		return "set {server-name}" + clean(wrong.Certificate.DNSNames[0]) + "{at}"
	case ok && len(wrong.Certificate.IPAddresses) > 0:
		return "use {use}https://" + net.JoinHostPort(wrong.Certificate.IPAddresses[0].String(), port) + "{at}"
	}
	return "give the server a certificate for {host}"
}
