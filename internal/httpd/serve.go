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
