package consulhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// The limits of connections, which are Consul's. A query may wait for 600 s and its jitter, which writeTimeout
// must leave room for.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 15 * time.Minute
	writeTimeout  = 15 * time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = http.DefaultMaxHeaderBytes
)

// NewServer returns a server for a Handler. Who runs it closes Options.Done first when it ends, so
// that queries that wait do not keep it.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // anybody could fill the log
	}
}

// farewell is how long answers that are under way at the end may take.
const farewell = 2 * time.Second

// Serve answers on a listener, which it closes, until the context ends: then within two seconds, without
// an error. No goroutine is left. The Handler's Options.Done is to be closed when the context ends.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	var conns sync.WaitGroup
	server := NewServer(h)
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			conns.Done()
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
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
