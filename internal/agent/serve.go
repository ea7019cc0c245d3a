package agent

import (
	"context"
	"errors"
	"fmt"
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

// Limits of the HTTP server. A client that is slow, or many of them, must cost a
// node no more than this.
const (
	maxConns      = 64
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	farewell      = 2 * time.Second // for answers that are under way at the end
)

// Serve answers on a listener, which it closes, until the context ends: then
// within two seconds, without an error. No goroutine is left.
//
// Over TCP, only requests for an address or for a name of this machine are
// answered: see knownHost.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	h = ForOwnNames(l, h)
	var conns sync.WaitGroup
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // anybody could fill the log
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed:
				conns.Done()
			}
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(limit(l, maxConns)) }()
	select {
	case err := <-ended: // the listener is broken
		err = errors.Join(fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err), server.Close())
		conns.Wait()
		return err
	case <-ctx.Done():
	}
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
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

// ForOwnNames lets h answer, over TCP, only requests for an address or for a name of this
// machine: see knownHost.
func ForOwnNames(l net.Listener, h http.Handler) http.Handler {
	if l.Addr().Network() == "unix" {
		return h
	}
	return onlyFor(ownNames(l), h)
}

// limited is a listener with at most so many connections at a time. Others wait
// in the kernel.
type limited struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	close func() error
}

func limit(l net.Listener, most int) net.Listener {
	done := make(chan struct{})
	return &limited{Listener: l, slots: make(chan struct{}, most), done: done, close: sync.OnceValue(func() error {
		close(done)
		return l.Close()
	})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slot{Conn: conn, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error { return l.close() }

type slot struct {
	net.Conn
	free func()
}

func (s *slot) Close() error {
	err := s.Conn.Close()
	s.free()
	return err
}

// onlyFor refuses requests for other hosts than names.
func onlyFor(names []string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !knownHost(r.Host, names) {
			text(w, http.StatusForbidden, fmt.Sprintf("this process does not go by the name %q; ask for its address, for one of %s, or let it listen on that name",
				r.Host, strings.Join(names, ", ")))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// knownHost reports whether a Host header is an address, or one of names. Without
// that, any web page could read what an agent says: its owner lets the page's own
// name lead to the agent's address, and then the browser takes the two for one
// site (DNS rebinding). What has no Host is no browser.
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

// ownNames are the names under which a listener may be asked: localhost, that of
// its own address as configured, and this machine's, in full and its first part.
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
