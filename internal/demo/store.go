package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/httpserve"
	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

// maxConns is the most connections of a store: what 500 nodes and a few people need.
const maxConns = 8192

// Store is an embedded store that listens.
type Store struct {
	Addr string // host:port

	engine *local.Engine
	end    context.CancelFunc
	served sync.WaitGroup
	err    error // of serving, once served
}

// StartStore opens a store in a folder, and serves it on a free port of 127.0.0.1 until
// Close.
func StartStore(dir string) (*Store, error) {
	journal, err := disk.Open(dir)
	if err != nil {
		return nil, err
	}
	engine, err := local.Open(local.Options{Journal: journal})
	if err != nil {
		return nil, errors.Join(err, journal.Close())
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on a free port: %w", err), engine.Close())
	}
	s := &Store{Addr: l.Addr().String(), engine: engine}
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	h := consulhttp.New(consulhttp.Options{Engine: engine, Address: s.Addr})
	o := httpserve.Options{Conns: maxConns, Request: time.Minute, Answer: consulhttp.AnswerTime}
	s.served.Go(func() { s.err = httpserve.Serve(ctx, l, h, o) })
	return s, nil
}

// Close ends it, and waits for all that it does.
func (s *Store) Close() error {
	s.end()
	s.served.Wait()
	return errors.Join(s.err, s.engine.Close())
}
