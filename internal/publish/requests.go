package publish

import (
	"context"
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

func (p *Publisher) keys(ctx context.Context, s Step, prefix string) ([]string, error) {
	if err := p.step(s); err != nil {
		return nil, err
	}
	return p.Store.Keys(ctx, prefix)
}

func (p *Publisher) commit(ctx context.Context, s Step, ops []kv.Op) (map[string]uint64, error) {
	if err := p.step(s); err != nil {
		return nil, err
	}
	return p.Store.Commit(ctx, ops)
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
