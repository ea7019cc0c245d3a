// Package httpd owns listeners and the set-up of every HTTP server: TLS, the check of host names, time limits, and limits of
// connections, in total and for each client address. No client can block another.
//
// It may import atomicfile.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log" //nolint:depguard // net/http has no other type for its errors
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	headerTimeout = 5 * time.Second  // for a TLS handshake, and for the head of a request
	idleTimeout   = 10 * time.Second // between requests
	drainTime     = 2 * time.Second  // for pending requests, when the server ends
	maxHeader     = 32 << 10         // bytes; net/http allows 4 KiB more
)

// Options are limits that differ between servers.
type Options struct {
	TLS       *tls.Config   // nil: plain HTTP, for host names of this machine only
	Conns     int           // concurrent connections; 0: no limit
	PerClient int           // of one client address; 0: no limit
	Local     int           // of this machine, over loopback or a socket; 0: no limit
	Request   time.Duration // for a client to send a whole request
	Answer    time.Duration // from a request to the end of its answer
	Log       *slog.Logger  // gets warnings about clients with too many connections, and failed TLS handshakes; may be nil
}

// ForPages returns the limits of a listener for monitors and people.
func ForPages() Options {
	return Options{Conns: 64, PerClient: 16, Local: 48, Request: 10 * time.Second, Answer: 30 * time.Second}
}

// Serve answers on a listener, which it closes, until ctx ends. Then the contexts of requests end, and pending answers have two
// seconds. It returns nil then, and leaves no goroutine.
func Serve(ctx context.Context, l net.Listener, h http.Handler, o Options) error {
	if o.TLS == nil {
		h = forOwnNames(l, h)
	}
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	limited := limit(l, o)
	var conns sync.WaitGroup
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       o.Request,
		WriteTimeout:      o.Answer,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		Protocols:         new(http.Protocols),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          log.New(&handshakes{log: o.Log}, "", 0),
		ConnState: func(c net.Conn, state http.ConnState) {
			limited.note(c, state)
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked: // a hijacked one belongs to its handler
				conns.Done()
			}
		},
	}
	server.Protocols.SetHTTP1(true) // no limit here would count the requests of an HTTP/2 connection
	var serving net.Listener = limited
	if o.TLS != nil {
		serving = tls.NewListener(limited, o.TLS)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(serving) }()
	select {
	case err := <-ended: // the listener is broken
		err = errors.Join(fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err), server.Close())
		conns.Wait()
		return err
	case <-ctx.Done():
	}
	cancel()
	short, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	err := server.Shutdown(short)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if broken := <-ended; !errors.Is(broken, http.ErrServerClosed) {
		err = errors.Join(err, broken)
	}
	conns.Wait()
	if err != nil {
		return fmt.Errorf("close %s: %w", l.Addr(), err)
	}
	return nil
}

// handshakesEvery limits how often the log says why handshakes failed: clients could fill it.
const handshakesEvery = time.Second

// handshakes passes on what net/http says of failed TLS handshakes, and drops all else that it says.
type handshakes struct {
	log *slog.Logger // may be nil

	mu   sync.Mutex
	last time.Time
	more int // that were not logged since
}

// Write takes one line of the log of net/http.
func (h *handshakes) Write(b []byte) (int, error) {
	about, found := strings.CutPrefix(strings.TrimSpace(string(b)), "http: TLS handshake error from ")
	from, why, _ := strings.Cut(about, ": ")
	if !found || h.log == nil || why == "EOF" || strings.HasSuffix(why, "connection reset by peer") { // it only connected
		return len(b), nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.last) < handshakesEvery {
		h.more++
		return len(b), nil
	}
	h.log.Warn("the TLS handshake of a client failed", "from", from, "error", why, "more", h.more)
	h.last, h.more = time.Now(), 0
	return len(b), nil
}

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
