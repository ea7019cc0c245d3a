package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kvexpress/internal/kv"
)

const (
	dialTimeout = 5 * time.Second
	idleTimeout = 30 * time.Second
	maxIdle     = 4        // connections kept for the next request
	readBuffer  = 32 << 10 // bytes; most files come in one or two reads

	lastingIdleTimeout = 90 * time.Second // Consul's is 120 s
	lastingBuffer      = 2 << 10          // bytes; each target has a connection
	maxHeaderBytes     = 64 << 10         // of an answer
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
