package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"kvexpress/internal/kv"
)

const (
	// maxWatched is the most bytes of an entry: one has at most 512 KiB.
	maxWatched = 1 << 20
	// minWait keeps a caller from asking in a loop.
	minWait = 10 * time.Millisecond
)

var _ kv.Watcher = (*Store)(nil)

// Watch implements kv.Watcher: a blocking query that any server may answer.
//
// It asks for the raw value. Consul then sends the bytes as they are, which costs
// both sides a fourth of what JSON with base64 costs; what is lost are the flags.
func (s *Store) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	what := describe("watch", path, 1)
	if err := checkPath(path); err != nil {
		return kv.Entry{}, s.refuse(what, kv.ErrRequest, "%w", err)
	}
	var entry kv.Entry
	query := url.Values{"raw": {""}, "stale": {""}}
	f := s.blocking(ctx, path, query, since, wait, func(ctx context.Context, resp *http.Response) (index uint64, f *failure) {
		entry, f = s.watched(ctx, resp)
		return entry.Index, f
	})
	if f != nil {
		return kv.Entry{}, s.failed(what, false, f)
	}
	return entry, nil
}

// reading reads an answer, with the request's time for it from when it began, and returns its index.
type reading func(context.Context, *http.Response) (uint64, *failure)

// blocking sends a query that blocks with since: several one after the other, if something on the way to Consul ends long
// ones.
func (s *Store) blocking(
	ctx context.Context, path string, query url.Values, since uint64, wait time.Duration, read reading,
) *failure {
	if since == 0 { // Consul answers it at once
		_, _, f := s.get(ctx, path, query, 0, 0, read)
		return f
	}
	wait = min(max(wait, minWait), kv.MaxWait)
	for end := time.Now().Add(wait); ; wait = time.Until(end) {
		part, longer := s.waits.next(wait)
		index, sent, f := s.get(ctx, path, query, since, part, read)
		lasted := time.Since(sent)
		quiet := lasted >= part
		switch {
		case f == nil && lasted >= part && longer:
			s.waits.lasted()
		case f != nil && f.cut && !sent.IsZero() && lasted >= minCut && ctx.Err() == nil:
			// Is Consul still there? Then nothing is wrong, and this is the answer.
			if index, _, f = s.get(ctx, path, query, 0, 0, read); f == nil {
				s.waits.cut(sent, lasted, longer)
				quiet = true
			}
		}
		if f != nil || !quiet || index != since || time.Until(end) < minCut {
			return f
		}
	}
}

// get sends one query, and returns when it was sent.
func (s *Store) get(
	ctx context.Context, path string, query url.Values, since uint64, wait time.Duration, read reading,
) (index uint64, sent time.Time, f *failure) {
	limit := s.timeout
	if since > 0 {
		query = maps.Clone(query)
		query.Set("index", strconv.FormatUint(since, 10))
		query.Set("wait", wait.String())
		limit += wait + wait/16 // which is what Consul adds by itself
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(limit, func() { cancel(noAnswerError(limit)) })
	defer func() { timer.Stop() }()
	var written atomic.Pointer[time.Time] // the last one counts: net/http may send it anew
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { now := time.Now(); written.Store(&now) }}
	traced := httptrace.WithClientTrace(ctx, trace)
	req, err := http.NewRequestWithContext(traced, http.MethodGet, s.url("/v1/kv/"+path, query), http.NoBody)
	if err != nil {
		return 0, sent, &failure{kind: kv.ErrRequest, cause: s.scrub(err)}
	}
	req.Header = s.header.Clone()
	resp, err := s.send(req)
	if at := written.Load(); at != nil {
		sent = *at
	}
	if err != nil {
		return 0, sent, &failure{kind: kv.ErrUnreachable, cause: s.broken(ctx, err), cut: ctx.Err() == nil}
	}
	defer resp.Body.Close()
	timer.Stop() // the rest is on its way
	timer = time.AfterFunc(s.timeout, func() { cancel(noAnswerError(s.timeout)) })
	index, f = read(ctx, resp)
	if f != nil {
		f.cut = slices.Contains([]int{http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout}, resp.StatusCode)
	}
	return index, sent, f
}

// watched is the entry that an answer brings.
func (s *Store) watched(ctx context.Context, resp *http.Response) (kv.Entry, *failure) {
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return kv.Entry{}, s.judge(resp)
	}
	index, f := s.index(resp)
	if f == nil {
		f = s.whole(resp)
	}
	if f != nil {
		return kv.Entry{}, f
	}
	body, err := readBody(resp, maxWatched)
	switch {
	case err != nil:
		return kv.Entry{}, &failure{kind: kv.ErrUnreachable, cause: fmt.Errorf("the answer broke off: %w", s.broken(ctx, err))}
	case len(body) > maxWatched:
		return kv.Entry{}, s.garbage("it has more than %d KiB", maxWatched>>10)
	case resp.StatusCode == http.StatusNotFound:
		return kv.Entry{State: kv.Absent, Index: index}, nil
	}
	return kv.Entry{State: kv.Present, Value: body, Index: index}, nil
}

// index reads what Consul says of an answer beside its bytes. Without an index it
// is not Consul's, and a watch would turn into a busy loop.
func (s *Store) index(resp *http.Response) (uint64, *failure) {
	text := resp.Header.Get("X-Consul-Index")
	index, err := strconv.ParseUint(text, 10, 64)
	if err != nil || index == 0 {
		return 0, s.garbage("status %d with the index %q, where a number was due", resp.StatusCode, s.clean(text))
	}
	if resp.Header.Get("X-Consul-KnownLeader") == "false" {
		return 0, &failure{kind: kv.ErrUnreachable, cause: errors.New("the server that answered knows no leader")}
	}
	return index, nil
}

// whole refuses a body whose bytes cannot be relied on. JSON shows a cut by itself,
// bytes as they are do not.
func (s *Store) whole(resp *http.Response) *failure {
	if form := resp.Header.Get("Content-Encoding"); form != "" { // not asked for
		return s.garbage("it is packed as %s", s.clean(form))
	}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 { // it ends with the connection
		return s.garbage("it says nothing of its length, so that one that broke off would not show")
	}
	return nil
}

// broken is why, fit to show: the network's error may quote all that a server
// sent in the place of an answer.
func (s *Store) broken(ctx context.Context, err error) error {
	why := s.why(ctx, err)
	text := why.Error()
	hidden := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	if ctx.Err() == nil && (hidden || len(text) > maxExcerpt*3/2) {
		return errors.New(s.clean(text))
	}
	return why
}
