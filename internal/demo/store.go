package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/embedded/disk"
	"kvexpress/internal/httpd"
)

// maxConns is the most connections of a store: what 500 nodes and a few people need.
const maxConns = 8192

// Store is an embedded store that listens.
type Store struct {
	Addr string // host:port

	engine *embedded.Engine
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
	engine, err := embedded.Open(embedded.Options{Journal: journal})
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
	h := consulapi.New(consulapi.Options{Engine: engine, Address: s.Addr})
	o := httpd.Options{Conns: maxConns, Request: time.Minute, Answer: consulapi.AnswerTime}
	s.served.Go(func() { s.err = httpd.Serve(ctx, l, h, o) })
	return s, nil
}

// Close ends it, and waits for all that it does.
func (s *Store) Close() error {
	s.end()
	s.served.Wait()
	return errors.Join(s.err, s.engine.Close())
}
