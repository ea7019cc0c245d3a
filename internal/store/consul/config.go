package consul

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

const (
	dialTimeout = 5 * time.Second
	idleTimeout = 30 * time.Second
	maxIdle     = 4        // connections kept for the next request
	readBuffer  = 32 << 10 // bytes; most files come in one or two reads

	lastingIdleTimeout = 90 * time.Second // Consul's is 120 s
	lastingBuffer      = 2 << 10          // bytes; each target has a connection
	maxHeaderBytes     = 64 << 10         // of an answer
	maxTokenFile       = 4 << 10          // bytes; a token has 36
	// maxCertificates limits one file of certificate authorities, in bytes.
	maxCertificates = 4 << 20
)

// target is a parsed address.
type target struct {
	scheme string // http or https
	host   string // as in a request's URL
	prefix string // of the path, for a Consul behind a reverse proxy
	socket string // path of a Unix socket, in place of host
}

func (t target) String() string {
	switch {
	case t.socket != "":
		return "unix://" + t.socket
	case t.scheme == "https":
		return "https://" + t.host + t.prefix
	}
	return t.host + t.prefix
}

// parseAddr reads an address as Consul's own commands do. An address raises the scheme of the environment to https, and never
// lowers it to http.
func parseAddr(addr, scheme string) (target, error) {
	given, rest, ok := strings.Cut(addr, "://")
	if !ok {
		given, rest = "", addr
	}
	switch given {
	case "", "http":
	case "https":
		scheme = "https"
	case "unix":
		if rest == "" {
			return target{}, fmt.Errorf("Consul address %s: the path of the socket is missing", kv.Quote(addr))
		}
		return target{scheme: scheme, host: "localhost", socket: rest}, nil
	default:
		return target{}, fmt.Errorf("Consul address: unknown scheme %s; use host:port, http://, https:// or unix://", kv.Quote(given))
	}
	if strings.Contains(rest, "@") { // not shown: it may hold a password
		return target{}, errors.New("Consul address: a user and password do not belong there; set CONSUL_HTTP_AUTH")
	}
	u, err := url.Parse(scheme + "://" + rest)
	if strings.Count(rest, ":") > 1 && net.ParseIP(rest) != nil {
		return target{}, fmt.Errorf("Consul address %s: an IPv6 address needs brackets, as in [::1]:8500", kv.Quote(addr))
	}
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return target{},
			fmt.Errorf("Consul address %s: use host:port, http://host:port, https://host:port or unix:///path", kv.Quote(addr))
	}
	return target{scheme: scheme, host: u.Host, prefix: strings.TrimRight(u.Path, "/")}, nil
}

// chooseToken finds the ACL token; "" is the anonymous token.
func chooseToken(s settings) (token string, err error) {
	switch {
	case s.TokenFile != "":
		if token, err = readToken(s.TokenFile); err == nil && token == "" {
			err = fmt.Errorf("token file %s: it is empty", s.TokenFile)
		}
	case s.Token != "":
		token = s.Token
	case s.envTokenFile != "":
		token, err = readToken(s.envTokenFile)
		token = cmp.Or(token, s.envToken) // as Consul does, unlike a file that was asked for
	default:
		token = s.envToken
	}
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("the Consul token holds a character that cannot be sent; check for a line break in it")
	}
	return token, nil
}

func readToken(path string) (string, error) {
	b, err := readCapped(path, maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token file: %w; create it, or name another", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// credentials returns the header of every request, and registers its secrets for redaction.
func credentials(token string, auth *login) http.Header {
	header := http.Header{"Content-Type": {"application/json"}}
	if token != "" {
		header.Set("X-Consul-Token", token)
		safetext.Hide(token)
	}
	if auth != nil {
		both := base64.StdEncoding.EncodeToString([]byte(auth.user + ":" + auth.password))
		header.Set("Authorization", "Basic "+both)
		safetext.Hide(both)
		safetext.Hide(auth.password)
	}
	return header
}

// newTransport returns a transport with limits. It uses no proxy, which would see the token, and no compression, which would cost
// Consul's CPU on every poll. It reads certificates only for TLS.
func newTransport(to target, env settings) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: dialTimeout}
	t := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		ReadBufferSize:         readBuffer,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if env.Lasting {
		// A dead peer is noticed in half a minute.
		dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}
		t.IdleConnTimeout = lastingIdleTimeout
		t.ReadBufferSize, t.WriteBufferSize = lastingBuffer, lastingBuffer
	}
	if to.socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", to.socket)
		}
	}
	if to.scheme == "https" {
		config, err := env.tls()
		if err != nil {
			return nil, fmt.Errorf("TLS for %s: %w", to, err)
		}
		t.TLSClientConfig = config
	}
	return t, nil
}
