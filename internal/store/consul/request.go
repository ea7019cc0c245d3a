package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"kvexpress/internal/kv"
)

// maxAnswer is the most bytes of an answer that are read, and maxRow what one entry
// takes of it at most: it has 512 KiB, in base64.
const (
	maxAnswer = 8 << 20
	maxRow    = 768 << 10
)

// failure is why a request brought no answer that can be used.
type failure struct {
	kind  error // a sentinel of package kv
	cause error
	// maybeRan: Consul may have done what was asked. For a write the outcome
	// is then unknown, whatever the kind.
	maybeRan bool
	cut      bool // what lies between us and Consul may have ended a query that waited
}

// noAnswerError is the end of a request's time limit.
type noAnswerError time.Duration

func (e noAnswerError) Error() string { return fmt.Sprintf("no answer within %s", time.Duration(e)) }

// ask sends one request and returns the answer's status and whole body. The
// answer is JSON of at most so many bytes, or Consul's 404; everything else is a failure.
func (s *Store) ask(ctx context.Context, method, path string, query url.Values, body []byte, most int64) (int, []byte, *failure) {
	if len(body) > kv.MaxTxnBody { // Consul would hang up while we send
		return 0, nil, &failure{kind: kv.ErrTooLarge, cause: fmt.Errorf(
			"the request has %d bytes, at most %d are allowed", len(body), kv.MaxTxnBody)}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, noAnswerError(s.timeout))
	defer cancel()
	// From the moment there is a connection, bytes may have reached Consul.
	// (Whether all were written is known only later, and then too late.)
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, s.url(path, query), bytes.NewReader(body))
	if err != nil {
		return 0, nil, &failure{kind: kv.ErrRequest, cause: s.scrub(err)}
	}
	req.Header = s.header.Clone()

	resp, err := s.send(req)
	if err != nil {
		return 0, nil, &failure{kind: kv.ErrUnreachable, cause: s.why(ctx, err), maybeRan: connected.Load()}
	}
	defer resp.Body.Close()
	if !usable(resp) {
		return 0, nil, s.judge(resp)
	}
	answer, err := readBody(resp, most)
	if err != nil {
		return 0, nil, &failure{kind: kv.ErrUnreachable, cause: fmt.Errorf("the answer broke off: %w", s.why(ctx, err)), maybeRan: true}
	}
	if int64(len(answer)) > most {
		return 0, nil, s.garbage("%w: more than %d KiB", kv.ErrLongAnswer, most>>10)
	}
	return resp.StatusCode, answer, nil
}

// readBody reads so many bytes of an answer at most, and one more if there are more.
func readBody(resp *http.Response, most int64) ([]byte, error) {
	var body bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= most {
		body.Grow(int(n) + bytes.MinRead)
	}
	_, err := body.ReadFrom(io.LimitReader(resp.Body, most+1))
	return body.Bytes(), err
}

func (s *Store) url(path string, query url.Values) string {
	all := maps.Clone(s.query)
	maps.Copy(all, query)
	u := url.URL{Scheme: s.target.scheme, Host: s.target.host, Path: s.target.prefix + path, RawQuery: all.Encode()}
	return u.String()
}

// why is the reason of a broken request: the end of its context, if it has
// ended, for then the network's error is only a consequence.
func (s *Store) why(ctx context.Context, err error) error {
	ended := ctx.Err()
	if ended == nil {
		return s.scrub(err)
	}
	cause := context.Cause(ctx)
	if _, ours := errors.AsType[noAnswerError](cause); ours || errors.Is(cause, ended) {
		return cause
	}
	return fmt.Errorf("%w: %w", ended, cause)
}

// garbage is an answer that looked like one of Consul's at first.
func (s *Store) garbage(format string, args ...any) *failure {
	return &failure{kind: kv.ErrNotStore, cause: fmt.Errorf(format, args...), maybeRan: true}
}
