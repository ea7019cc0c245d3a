package demo

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"kvexpress/internal/hub"
	"kvexpress/internal/kv"
)

// Store is a hub with an embedded store.
type Store struct {
	Addr string // host:port

	end    context.CancelFunc
	served sync.WaitGroup
	err    error // of the hub, after served
}

// StartStore opens a store in a folder and serves it on a free port of 127.0.0.1 until Close.
func StartStore(dir string) (*Store, error) {
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	h, err := hub.Open(hub.Options{
		Listen: "127.0.0.1:0", MaxConnsPerClient: 1, DataDir: dir, Log: log, // this machine has no limit of connections
		Metrics: hub.MetricsOptions{Layout: layout, Every: time.Minute, Expiry: time.Hour, Log: log},
	})
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Store{Addr: h.Address(), end: end}
	s.served.Go(func() { s.err = h.Run(ctx) })
	return s, nil
}

// Close ends the hub and waits for it.
func (s *Store) Close() error {
	s.end()
	s.served.Wait()
	return s.err
}
