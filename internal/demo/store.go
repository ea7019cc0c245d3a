package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"kvexpress/internal/agent"
	"kvexpress/internal/consulhttp"
	"kvexpress/internal/store/local"
)

// Store is an embedded store that listens.
type Store struct {
	Addr string // host:port

	engine *local.Engine
	end    context.CancelFunc
	served sync.WaitGroup
	err    error // of serving, once served
}

// StartStore opens a store in memory, and serves it on a free port of 127.0.0.1 until
// Close.
func StartStore() (*Store, error) {
	engine, err := local.Open(local.Options{})
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on a free port: %w", err), engine.Close())
	}
	s := &Store{Addr: l.Addr().String(), engine: engine}
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	h := consulhttp.New(consulhttp.Options{Engine: engine, Address: s.Addr, Done: ctx.Done()})
	s.served.Go(func() { s.err = consulhttp.Serve(ctx, l, agent.ForOwnNames(l, h)) })
	return s, nil
}

// Close ends it, and waits for all that it does.
func (s *Store) Close() error {
	s.end()
	s.served.Wait()
	return errors.Join(s.err, s.engine.Close())
}
