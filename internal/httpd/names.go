package httpd

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// forOwnNames refuses requests over TCP for other host names than this machine's: see knownHost.
func forOwnNames(l net.Listener, h http.Handler) http.Handler {
	if l.Addr().Network() == "unix" {
		return h
	}
	names := ownNames(l)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !knownHost(r.Host, names) {
			Text(w, http.StatusForbidden, fmt.Sprintf("Host header %q is not allowed; use an IP address or one of: %s",
				r.Host, strings.Join(names, ", ")))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// knownHost reports whether a Host header is an address, or one of names. Without this check any web page could read our
// pages (DNS rebinding): its owner points the page's name at our address, and the browser takes both for one site. A client
// without a Host header is no browser.
func knownHost(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || slices.Contains(names, host) {
		return true
	}
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil
}

// ownNames are localhost, the host name of the configured address, and this machine's name, in full and its first label.
func ownNames(l net.Listener) []string {
	names := []string{"localhost"}
	if named, ok := l.(*namedListener); ok {
		names = append(names, named.host)
	}
	if host, err := os.Hostname(); err == nil {
		short, _, _ := strings.Cut(host, ".")
		names = append(names, host, short)
	}
	for i, name := range names {
		names[i] = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}
