package consul

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"kvexpress/internal/kv"
)

// Put implements kv.Store. The value is the body of the request, so it may be as large as Consul allows. Consul cleans the path:
// no part between slashes may be empty, "." or "..".
func (s *Store) Put(ctx context.Context, path string, value []byte, flags uint64) error {
	what := describe("write", path, 1)
	if err := checkPath(path); err != nil {
		return s.refuse("write", kv.ErrRequest, "%w", err)
	}
	if len(value) > kv.MaxValue {
		return s.refuse(what, kv.ErrTooLarge, "the value has %d bytes, at most %d are allowed", len(value), kv.MaxValue)
	}
	query := url.Values{"flags": {strconv.FormatUint(flags, 10)}}
	_, answer, f := s.ask(ctx, request{method: http.MethodPut, path: "/v1/kv/" + path, query: query, body: value}, maxErrorBody)
	if f == nil && string(bytes.TrimSpace(answer)) != "true" {
		f = garbage("the answer is %q instead of true", clean(string(answer)))
	}
	if f != nil {
		return s.failed(what, true, f)
	}
	return nil
}
