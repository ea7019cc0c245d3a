package consul

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"kvexpress/internal/kv"
)

var _ kv.Pulser = (*Store)(nil)

// Pulse implements kv.Pulser with a blocking query for the names one level below dir. Consul wakes it for every row below dir, at
// any depth, and sends the names of the level only.
func (s *Store) Pulse(ctx context.Context, dir string, since uint64, wait time.Duration) (kv.Beat, error) {
	what := describe("watch", dir, 1)
	if err := checkPath(dir); err != nil {
		return kv.Beat{}, s.refuse(what, kv.ErrRequest, "%w", err)
	}
	var beat kv.Beat
	query := url.Values{"keys": {""}, "separator": {"/"}}
	f := s.blocking(ctx, dir, query, since, wait, func(ctx context.Context, resp *http.Response) (index uint64, f *failure) {
		beat, f = s.beat(ctx, resp)
		return beat.Index, f
	})
	if f != nil {
		return kv.Beat{}, s.failed(what, false, f)
	}
	return beat, nil
}

// beat reads an answer to its end, so that the connection is used again.
func (s *Store) beat(ctx context.Context, resp *http.Response) (kv.Beat, *failure) {
	if !usable(resp) {
		return kv.Beat{}, s.judge(resp)
	}
	index, f := indexOf(resp)
	if f != nil {
		return kv.Beat{}, f
	}
	switch n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, kv.MaxNames+1)); {
	case err != nil:
		return kv.Beat{}, connectionLost(ctx, err)
	case n > kv.MaxNames:
		return kv.Beat{}, &failure{kind: kv.ErrTooLarge, cause: fmt.Errorf("the names have more than %d MiB", kv.MaxNames>>20)}
	}
	return kv.Beat{Index: index, Empty: resp.StatusCode == http.StatusNotFound}, nil
}
