//go:build linux

package scale

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

// adHoc puts a file from a URL onto every node, as docs/ad-hoc.md tells, under a key that
// did not exist: the agents have a target for it.
func (s *site) adHoc(ctx context.Context) (Change, error) {
	for _, n := range s.nodes {
		_, err := os.Stat(n.file(keyAdHoc))
		if err == nil {
			err = fmt.Errorf("%s is there before its key was published", n.file(keyAdHoc))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return Change{}, err
		}
	}
	content := hosts(249)
	address, end, err := serve(ctx, content)
	if err != nil {
		return Change{}, err
	}
	c, err := s.deliver(ctx, keyAdHoc, content, "-u", address)
	return c, errors.Join(err, end())
}

// serve gives content to whoever asks, on a free port of the loopback interface, until end
// is called.
func serve(ctx context.Context, content []byte) (address string, end func() error, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(content) // who asked notices if it is cut
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }() // until end
	return "http://" + listener.Addr().String() + "/adhoc", func() error {
		err := server.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
