package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/kv"
)

// List implements kv.Store: a recursive query, which blocks with since.
func (s *Store) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	what := describe("list", prefix, 1)
	if prefix == "" {
		what = "list all keys"
	} else if err := checkPath(prefix); err != nil {
		return kv.Listing{}, s.refuse(what, kv.ErrRequest, "%w", err)
	}
	query := url.Values{"recurse": {""}}
	setConsistency(query, c)
	limit := s.timeout
	if since > 0 { // Consul answers index 0 at once
		wait = min(max(wait, minWait), kv.MaxWait)
		query.Set("index", strconv.FormatUint(since, 10))
		query.Set("wait", wait.String())
		limit += wait + wait/16 // which is what Consul adds by itself
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, noAnswerError(limit))
	defer cancel()
	listing, f := s.list(ctx, prefix, query)
	if f != nil {
		return kv.Listing{}, s.failed(what, false, f)
	}
	return listing, nil
}

func setConsistency(query url.Values, c kv.Consistency) {
	switch c {
	case kv.Stale:
		query.Set("stale", "")
	case kv.Consistent:
		query.Set("consistent", "")
	}
}

func (s *Store) list(ctx context.Context, prefix string, query url.Values) (kv.Listing, *failure) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url("/v1/kv/"+prefix, query), http.NoBody)
	if err != nil {
		return kv.Listing{}, &failure{kind: kv.ErrRequest, cause: s.scrub(err)}
	}
	req.Header = s.header.Clone()
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return kv.Listing{}, &failure{kind: kv.ErrUnreachable, cause: s.broken(ctx, err)}
	}
	defer resp.Body.Close()
	if !usable(resp) {
		return kv.Listing{}, s.judge(resp)
	}
	all := kv.Listing{Filtered: resp.Header.Get("X-Consul-Results-Filtered-By-ACLs") == "true"}
	var f *failure
	if all.Index, f = s.index(resp); f != nil {
		return kv.Listing{}, f
	}
	if resp.StatusCode == http.StatusNotFound {
		return all, nil
	}
	body := &io.LimitedReader{R: resp.Body, N: kv.MaxListing}
	if all.Rows, err = decodeRows(body, prefix); err == nil {
		slices.SortFunc(all.Rows, func(a, b kv.Row) int { return strings.Compare(a.Path, b.Path) })
		return all, nil
	}
	switch {
	case body.N <= 0:
		return kv.Listing{}, &failure{kind: kv.ErrTooLarge, cause: fmt.Errorf("the rows have more than %d MiB", kv.MaxListing>>20)}
	case ctx.Err() != nil, errors.Is(err, io.ErrUnexpectedEOF):
		return kv.Listing{}, &failure{kind: kv.ErrUnreachable, cause: fmt.Errorf("the answer broke off: %w", s.broken(ctx, err))}
	}
	return kv.Listing{}, s.garbage("status %d, and no list of rows: %s", resp.StatusCode, s.clean(err.Error()))
}
