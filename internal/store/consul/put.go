package consul

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"kvexpress/internal/kv"
)

// Put implements kv.Putter: the value is the body of a request, and so as large as
// Consul takes one. Consul cleans the path: what is between slashes must be neither
// empty, "." nor "..".
func (s *Store) Put(ctx context.Context, path string, value []byte, flags uint64) error {
	what := describe("write", path, 1)
	if err := checkPath(path); err != nil {
		return s.refuse("write", kv.ErrRequest, "%w", err)
	}
	if len(value) > kv.MaxValue {
		return s.refuse(what, kv.ErrTooLarge, "the value has %d bytes, at most %d are allowed", len(value), kv.MaxValue)
	}
	query := url.Values{"flags": {strconv.FormatUint(flags, 10)}}
	_, answer, f := s.ask(ctx, http.MethodPut, "/v1/kv/"+path, query, value, maxErrorBody)
	if f == nil && string(bytes.TrimSpace(answer)) != "true" {
		f = s.garbage("it is %q, where true was due", s.clean(string(answer)))
	}
	if f != nil {
		return s.failed(what, true, f)
	}
	return nil
}
