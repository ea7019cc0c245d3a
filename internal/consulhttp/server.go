package consulhttp

import (
	"log/slog"
	"net/http"
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
