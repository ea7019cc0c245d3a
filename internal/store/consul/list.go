package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/kv"
)

// List implements kv.Store with a recursive query, which blocks with since.
func (s *Store) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	what := describe("list", prefix, 1)
	if prefix == "" {
		what = "list all keys"
	} else if err := checkPath(prefix); err != nil {
		return kv.Listing{}, s.refuse(what, kv.ErrRequest, "%w", err)
	}
	query := url.Values{"recurse": {""}}
	setConsistency(query, c)
	return blocking(ctx, s, what, prefix, query, since, wait, func(ctx context.Context, resp *http.Response) (kv.Listing, *failure) {
		return s.listing(ctx, prefix, resp)
	})
}

func setConsistency(query url.Values, c kv.Consistency) {
	if mode := map[kv.Consistency]string{kv.Stale: "stale", kv.Consistent: "consistent"}[c]; mode != "" {
		query.Set(mode, "")
	}
}

func (s *Store) listing(ctx context.Context, prefix string, resp *http.Response) (kv.Listing, *failure) {
	if !usable(resp) {
		return kv.Listing{}, s.judge(resp)
	}
	all := kv.Listing{Filtered: resp.Header.Get("X-Consul-Results-Filtered-By-ACLs") == "true"}
	var f *failure
	if all.Index, f = indexOf(resp); f != nil || resp.StatusCode == http.StatusNotFound {
		return all, f
	}
	body := &io.LimitedReader{R: resp.Body, N: kv.MaxListing}
	var err error
	if all.Rows, err = decodeRows(body, prefix); err == nil {
		slices.SortFunc(all.Rows, func(a, b kv.Row) int { return strings.Compare(a.Path, b.Path) })
		return all, nil
	}
	switch {
	case body.N <= 0:
		return kv.Listing{}, &failure{kind: kv.ErrTooLarge, cause: fmt.Errorf("the rows have more than %d MiB", kv.MaxListing>>20)}
	case ctx.Err() != nil, errors.Is(err, io.ErrUnexpectedEOF):
		return kv.Listing{}, connectionLost(ctx, err)
	}
	return kv.Listing{}, garbage("status %d, and not a list of rows: %s", resp.StatusCode, clean(err.Error()))
}

// decodeRows reads rows one by one, so that the answer is in memory only once.
func decodeRows(body io.Reader, prefix string) ([]kv.Row, error) {
	dec := json.NewDecoder(body)
	if begin, err := dec.Token(); err != nil {
		return nil, err
	} else if begin != json.Delim('[') {
		return nil, errors.New("not a list")
	}
	var rows []kv.Row
	for dec.More() {
		var r row
		if err := dec.Decode(&r); err != nil {
			return nil, err
		}
		switch {
		case !strings.HasPrefix(r.Key, prefix):
			return nil, fmt.Errorf("the list has %s", kv.Quote(r.Key))
		case r.CreateIndex == 0 || r.ModifyIndex == 0:
			return nil, fmt.Errorf("%s has no index", kv.Quote(r.Key))
		}
		rows = append(rows, kv.Row{Path: r.Key, Entry: entry(&r)})
	}
	_, err := dec.Token()
	return rows, err
}
