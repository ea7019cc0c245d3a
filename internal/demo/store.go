package demo

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"kvexpress/internal/hub"
	"kvexpress/internal/kv"
)

// StartStore opens an embedded store in a folder, in a hub on a free port of 127.0.0.1. end ends the hub and waits for it.
func StartStore(dir string, layout kv.Layout) (addr string, end func() error, err error) {
	log := slog.New(slog.DiscardHandler)
	h, err := hub.Open(hub.Options{
		Listen: "127.0.0.1:0", MaxConnsPerClient: 1, DataDir: dir, Host: "demo", Log: log, // this machine has no limit of connections
		Metrics: hub.MetricsOptions{Layout: layout, Every: time.Minute, Expiry: time.Hour, Log: log},
	})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	var failed error
	served.Go(func() { failed = h.Run(ctx) })
	return h.Address(), func() error {
		cancel()
		served.Wait()
		return failed
	}, nil
}
