package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

func (p *Publisher) read(ctx context.Context, s Step, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if err := p.step(s); err != nil {
		return nil, err
	}
	return kv.ReadAll(ctx, p.Store, c, paths...)
}

func (p *Publisher) keys(ctx context.Context, s Step, k kv.Key, prefix string) ([]string, error) {
	if err := p.step(s); err != nil {
		return nil, err
	}
	paths, err := p.Store.Keys(ctx, prefix)
	if errors.Is(err, kv.ErrDenied) {
		return nil, denied("list "+prefix, k)
	}
	return paths, err
}

func (p *Publisher) commit(ctx context.Context, s Step, k kv.Key, ops []kv.Op) (map[string]uint64, error) {
	if err := p.step(s); err != nil {
		return nil, err
	}
	written, err := p.Store.Commit(ctx, ops)
	if errors.Is(err, kv.ErrDenied) {
		return nil, fmt.Errorf("%w; %s", err, policy(k))
	}
	return written, err
}

// filled is p with defaults in the place of what is not set.
func (p *Publisher) filled() *Publisher {
	q := *p
	if q.Once == nil {
		q.Once = q.Store
	}
	if q.Now == nil {
		q.Now = time.Now
	}
	if q.Wait == nil {
		q.Wait = wait.For
	}
	if q.Log == nil {
		q.Log = slog.New(slog.DiscardHandler)
	}
	if q.ResolveFor == 0 {
		q.ResolveFor = 30 * time.Second
	}
	return &q
}

func (p *Publisher) step(s Step) error {
	if p.Step == nil {
		return nil
	}
	return p.Step(s)
}

// backoff is how long to wait after the n-th failure: fifty publishers at once soon stand
// in each other's way no more.
func backoff(n int) time.Duration {
	return wait.Backoff{Least: 100 * time.Millisecond, Most: 4 * time.Second}.After(n - 1)
}
