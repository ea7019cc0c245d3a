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
	"strconv"
	"sync/atomic"
	"time"

	"kvexpress/internal/kv"
)

// maxAnswer limits the answer to a transaction, in bytes. maxRow is the share of one entry: 512 KiB in base64.
const (
	maxAnswer = 8 << 20
	maxRow    = 768 << 10
)

// answerLimit is the limit of the answer to so many operations.
func answerLimit(ops int) int64 { return min(maxAnswer, int64(ops+1)*maxRow) }

// failure says why a request brought no usable answer.
type failure struct {
	kind  error // a sentinel of package kv
	cause error
	// maybeRan: Consul may have executed the request, so the outcome of a write is unknown, whatever the kind.
	maybeRan bool
	cut      bool // a proxy may have ended a blocking query
}

// noAnswerError is the end of a request's time limit.
type noAnswerError time.Duration

func (e noAnswerError) Error() string { return fmt.Sprintf("no answer within %s", time.Duration(e)) }

// request is one HTTP request. With since it is a blocking query, which Consul answers after wait at the latest.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	as           string // a token in place of the store's
	since        uint64
	wait         time.Duration
}

// exchange sends a request and passes the answer to read. The time limit covers the head of the answer, and begins again for its
// body. sent is when the request was written; the zero time if it was not.
func (s *Store) exchange(
	ctx context.Context, r request, read func(context.Context, *http.Response) *failure,
) (sent time.Time, f *failure) {
	limit, query := s.timeout, maps.Clone(s.query)
	maps.Copy(query, r.query)
	if r.since > 0 {
		query.Set("index", strconv.FormatUint(r.since, 10))
		query.Set("wait", r.wait.String())
		limit += r.wait + r.wait/16 // Consul adds up to a sixteenth
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(limit, func() { cancel(noAnswerError(limit)) })
	defer func() { timer.Stop() }()

	var connected atomic.Bool             // from then on, bytes may have reached Consul
	var written atomic.Pointer[time.Time] // the last one counts: net/http may send the request again
	trace := &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { connected.Store(true) },
		WroteRequest: func(httptrace.WroteRequestInfo) { now := time.Now(); written.Store(&now) },
	}
	to := url.URL{Scheme: s.target.scheme, Host: s.target.host, Path: s.target.prefix + r.path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), r.method, to.String(), bytes.NewReader(r.body))
	if err != nil {
		return sent, &failure{kind: kv.ErrRequest, cause: presentable(err)}
	}
	req.Header = s.header.Clone()
	as := r.as
	if as == "" {
		as = s.token.current()
	}
	if as != "" {
		req.Header.Set("X-Consul-Token", as)
	}
	resp, err := s.send(req)
	if at := written.Load(); at != nil {
		sent = *at
	}
	if err != nil {
		return sent, &failure{kind: kv.ErrUnreachable, cause: why(ctx, err), maybeRan: connected.Load(), cut: ctx.Err() == nil}
	}
	defer resp.Body.Close()
	timer.Stop()
	timer = time.AfterFunc(s.timeout, func() { cancel(noAnswerError(s.timeout)) })
	return sent, read(ctx, resp)
}

// ask sends one request and returns the status and the whole body of its answer. The answer is JSON of at most limit bytes, or
// Consul's 404; anything else is a failure.
func (s *Store) ask(ctx context.Context, r request, limit int64) (status int, answer []byte, f *failure) {
	if len(r.body) > kv.MaxTxnBody { // Consul would close the connection while we send
		return 0, nil, &failure{kind: kv.ErrTooLarge, cause: fmt.Errorf(
			"the request has %d bytes, at most %d are allowed", len(r.body), kv.MaxTxnBody)}
	}
	_, f = s.exchange(ctx, r, func(ctx context.Context, resp *http.Response) (f *failure) {
		if !usable(resp) {
			return s.judge(resp)
		}
		status = resp.StatusCode
		if answer, f = readBody(ctx, resp, limit); f == nil && int64(len(answer)) > limit {
			return garbage("%w: more than %d KiB", kv.ErrLongAnswer, limit>>10)
		}
		return f
	})
	if f != nil {
		return 0, nil, f
	}
	return status, answer, nil
}

// readBody reads at most limit bytes of an answer, and one more if there are more.
func readBody(ctx context.Context, resp *http.Response, limit int64) ([]byte, *failure) {
	var body bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= limit {
		body.Grow(int(n) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(io.LimitReader(resp.Body, limit+1)); err != nil {
		return nil, connectionLost(ctx, err)
	}
	return body.Bytes(), nil
}

func connectionLost(ctx context.Context, err error) *failure {
	return &failure{kind: kv.ErrUnreachable, cause: fmt.Errorf("the answer broke off: %w", why(ctx, err)), maybeRan: true}
}

// why returns why a request broke: the end of its context if it has ended, since the network's error is only a consequence then.
func why(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		cause := context.Cause(ctx)
		if _, ours := errors.AsType[noAnswerError](cause); ours || errors.Is(cause, ended) {
			return cause
		}
		return fmt.Errorf("%w: %w", ended, cause)
	}
	return presentable(err)
}

// garbage is the failure of an answer that looked like one of Consul's at first.
func garbage(format string, args ...any) *failure {
	return &failure{kind: kv.ErrNotStore, cause: fmt.Errorf(format, args...), maybeRan: true}
}
