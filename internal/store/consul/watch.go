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
	"time"

	"kvexpress/internal/kv"
)

const (
	// maxWatched limits the answer to a watch, in bytes: an entry has at most 512 KiB.
	maxWatched = 1 << 20
	// minWait prevents a busy loop.
	minWait = 10 * time.Millisecond
	// minCut is the shortest wait that a proxy may have ended.
	minCut = time.Second
	// minLearned is the shortest wait that later waits are limited to. A shorter one may have ended because Consul restarted, and
	// the nodes of a fleet must not poll from then on.
	minLearned = 30 * time.Second
)

var _ kv.Watcher = (*Store)(nil)

// Watch implements kv.Watcher with a blocking query that any server may answer.
//
// It asks for the raw value: JSON with base64 costs both sides a third more. A raw answer has no flags.
func (s *Store) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	what := describe("watch", path, 1)
	if err := checkPath(path); err != nil {
		return kv.Entry{}, s.refuse(what, kv.ErrRequest, "%w", err)
	}
	query := url.Values{"raw": {""}, "stale": {""}}
	return blocking(ctx, s, what, path, query, since, wait, s.watched)
}

// blocking sends a blocking query and returns when read has an answer with a newer index, or when the wait is over.
func blocking[T any](ctx context.Context, s *Store, what, path string, query url.Values, since uint64, wait time.Duration,
	read func(context.Context, *http.Response) (T, *failure),
) (got T, err error) {
	f := s.await(ctx, since, wait, func(since uint64, wait time.Duration) (index uint64, sent time.Time, f *failure) {
		r := request{method: http.MethodGet, path: "/v1/kv/" + path, query: query, since: since, wait: wait}
		sent, f = s.exchange(ctx, r, func(ctx context.Context, resp *http.Response) (f *failure) {
			if got, f = read(ctx, resp); f != nil {
				timeouts := []int{http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout}
				f.cut = slices.Contains(timeouts, resp.StatusCode)
				return f
			}
			index, f = indexOf(resp)
			return f
		})
		return index, sent, f
	})
	if f != nil {
		var none T
		return none, s.failed(what, false, f)
	}
	return got, nil
}

// await is blocking for any query. If a proxy ends the query early, it sends another one.
func (s *Store) await(ctx context.Context, since uint64, wait time.Duration,
	get func(since uint64, wait time.Duration) (index uint64, sent time.Time, f *failure),
) *failure {
	if since == 0 { // Consul answers at once
		_, _, f := get(0, 0)
		return f
	}
	wait = min(max(wait, minWait), kv.MaxWait)
	for end := time.Now().Add(wait); ; wait = time.Until(end) {
		part := s.allowed(wait)
		index, sent, f := get(since, part)
		lasted := time.Since(sent)
		unchanged := lasted >= part
		if f != nil && f.cut && !sent.IsZero() && lasted >= minCut && ctx.Err() == nil {
			// If Consul still answers, a proxy ended the query, and nothing is wrong.
			if index, _, f = get(0, 0); f == nil {
				s.learn(lasted)
				unchanged = true
			}
		}
		if f != nil || !unchanged || index != since || time.Until(end) < minCut {
			return f
		}
	}
}

// learn notes that a proxy ended a query after some time. Later queries wait for less.
func (s *Store) learn(lasted time.Duration) {
	if lasted >= minLearned {
		s.longestWait.Store(int64(lasted * 9 / 10))
	}
}

// allowed limits a wait to what the proxy before Consul allows, as far as it is known.
func (s *Store) allowed(wait time.Duration) time.Duration {
	if longest := s.longestWait.Load(); longest > 0 {
		return min(wait, time.Duration(longest))
	}
	return wait
}

// watched reads the entry in an answer.
func (s *Store) watched(ctx context.Context, resp *http.Response) (kv.Entry, *failure) {
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return kv.Entry{}, s.judge(resp)
	}
	index, f := indexOf(resp)
	if f == nil {
		f = checkLength(resp)
	}
	if f != nil {
		return kv.Entry{}, f
	}
	body, f := readBody(ctx, resp, maxWatched)
	switch {
	case f != nil:
		return kv.Entry{}, f
	case len(body) > maxWatched:
		return kv.Entry{}, garbage("the entry has more than %d KiB", maxWatched>>10)
	case resp.StatusCode == http.StatusNotFound:
		return kv.Entry{State: kv.Absent, Index: index}, nil
	}
	return kv.Entry{State: kv.Present, Value: body, Index: index}, nil
}

// indexOf reads the index of an answer. An answer without one does not come from Consul, and would turn a watch into a busy loop.
func indexOf(resp *http.Response) (uint64, *failure) {
	text := resp.Header.Get("X-Consul-Index")
	index, err := strconv.ParseUint(text, 10, 64)
	if err != nil || index == 0 {
		return 0, garbage("status %d with the index %q instead of a number", resp.StatusCode, clean(text))
	}
	if resp.Header.Get("X-Consul-KnownLeader") == "false" {
		return 0, &failure{kind: kv.ErrUnreachable, cause: errors.New("the server that answered knows no leader")}
	}
	return index, nil
}

// checkLength refuses an answer whose end looks like a broken connection. JSON shows that by itself, a raw value does not.
func checkLength(resp *http.Response) *failure {
	if form := resp.Header.Get("Content-Encoding"); form != "" { // not asked for
		return garbage("the answer is compressed with %s", clean(form))
	}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 { // it ends with the connection
		return garbage("the answer has no length, so a part cannot be told from the whole")
	}
	return nil
}

var _ kv.Pulser = (*Store)(nil)

// Pulse implements kv.Pulser with a blocking query for the names one level below dir. Consul wakes it for every row below dir, at
// any depth, and sends the names of the level only.
func (s *Store) Pulse(ctx context.Context, dir string, since uint64, wait time.Duration) (kv.Beat, error) {
	what := describe("watch", dir, 1)
	if err := checkPath(dir); err != nil {
		return kv.Beat{}, s.refuse(what, kv.ErrRequest, "%w", err)
	}
	query := url.Values{"keys": {""}, "separator": {"/"}}
	return blocking(ctx, s, what, dir, query, since, wait, s.beat)
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
