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

func (p *Publisher) step(s Step) error {
	if p.Step == nil {
		return nil
	}
	return p.Step(s)
}

func (p *Publisher) wait(ctx context.Context, d time.Duration) error {
	if p.Wait != nil {
		return p.Wait(ctx, d)
	}
	return wait.For(ctx, d)
}

// backoff is how long to wait after the n-th failure: fifty publishers at once soon stand
// in each other's way no more.
func backoff(n int) time.Duration {
	return wait.Backoff{Least: 100 * time.Millisecond, Most: 8 * time.Second}.After(n - 1)
}

// countLimit is how long a publish waits for the number of nodes, which is a hint.
const countLimit = time.Second

func (p *Publisher) nodes(ctx context.Context) int {
	if p.Nodes == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	return p.Nodes(ctx)
}

func (p *Publisher) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

func (p *Publisher) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}
