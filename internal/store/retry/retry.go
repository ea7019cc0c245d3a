// Package retry decorates a kv.Store: it retries requests while the store is unreachable. Of this module it imports kv and wait.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

const leastWait, mostWait = 200 * time.Millisecond, 2 * time.Second

// Policy configures retries.
type Policy struct {
	// For limits the time from the first attempt to the beginning of the last one. 0 means no retry.
	For time.Duration
	// OnRetry, if set, is called before each wait with the number of the failed attempt, from 1, and its error.
	OnRetry func(attempt int, err error)
}

// New returns a store that retries a request while it fails with kv.ErrUnreachable, which means that nothing was written. It
// never retries after a kv.ErrUnknownOutcome or a Final kv.StoreError. It returns the last error, with the number of attempts.
func New(s kv.Store, p Policy) kv.Store {
	if p.For <= 0 {
		return s
	}
	return &store{next: s, policy: p}
}

type store struct {
	next   kv.Store
	policy Policy
}

func (s *store) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	return repeat(ctx, s.policy, func() (kv.Snapshot, error) { return s.next.Read(ctx, c, paths...) })
}

func (s *store) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	return repeat(ctx, s.policy, func() (map[string]uint64, error) { return s.next.Commit(ctx, ops) })
}

func (s *store) Keys(ctx context.Context, prefix string) ([]string, error) {
	return repeat(ctx, s.policy, func() ([]string, error) { return s.next.Keys(ctx, prefix) })
}

func (s *store) Level(ctx context.Context, prefix string) ([]string, error) {
	return repeat(ctx, s.policy, func() ([]string, error) { return s.next.Level(ctx, prefix) })
}

func (s *store) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	return repeat(ctx, s.policy, func() (kv.Listing, error) { return s.next.List(ctx, c, prefix, since, wait) })
}

func (s *store) Put(ctx context.Context, path string, value []byte, flags uint64) error {
	_, err := repeat(ctx, s.policy, func() (struct{}, error) { return struct{}{}, s.next.Put(ctx, path, value, flags) })
	return err
}

// Offset implements kv.Clock.
func (s *store) Offset() (time.Duration, bool) {
	if c, ok := s.next.(kv.Clock); ok {
		return c.Offset()
	}
	return 0, false
}

func repeat[T any](ctx context.Context, p Policy, request func() (T, error)) (T, error) {
	start := time.Now()
	backoff := wait.Backoff{Least: leastWait, Most: mostWait}
	for attempt := 1; ; attempt++ {
		result, err := request()
		if err == nil || !retryable(err) {
			return result, err
		}
		passed := time.Since(start)
		if passed >= p.For || ctx.Err() != nil {
			return result, gaveUp(ctx, err, attempt, passed)
		}
		if p.OnRetry != nil {
			p.OnRetry(attempt, err)
		}
		// The last attempt begins when the time is up, not before.
		if wait.For(ctx, min(backoff.After(attempt-1), p.For-passed)) != nil {
			return result, gaveUp(ctx, err, attempt, time.Since(start))
		}
	}
}

func retryable(err error) bool {
	if e, ok := errors.AsType[*kv.StoreError](err); ok && e.Final {
		return false
	}
	return errors.Is(err, kv.ErrUnreachable) && !errors.Is(err, kv.ErrUnknownOutcome)
}

// gaveUp adds the number of attempts, and the end of the context if it ended.
func gaveUp(ctx context.Context, err error, attempts int, after time.Duration) error {
	if attempts > 1 {
		err = fmt.Errorf("%w (gave up after %d attempts in %s)", err, attempts, after.Round(100*time.Millisecond))
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", err, ended)
	}
	return err
}
