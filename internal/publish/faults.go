package publish

import (
	"context"

	"kvexpress/internal/kv"
)

// Point labels a request to the store: a fault injection point.
type Point string

// The requests of a publish, in order. Those of the second group are made only if needed.
const (
	AtRead    Point = "read"
	AtPromote Point = "promote" // the transaction that makes the version live
	AtNotify  Point = "notify"  // the version is live already

	AtNested       Point = "list nested keys"
	AtHistoryList  Point = "list history"
	AtHistoryRead  Point = "read history"
	AtHistoryCheck Point = "check history"
	AtHistoryWrite Point = "write history"
	AtResolve      Point = "resolve"
	AtPromoteAgain Point = "promote again"
)

func (p *Publisher) fault(at Point) error {
	if p.Fault == nil {
		return nil
	}
	return p.Fault(at)
}

func (p *Publisher) read(ctx context.Context, at Point, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if err := p.fault(at); err != nil {
		return nil, err
	}
	return kv.ReadAll(ctx, p.Store, c, paths...)
}

func (p *Publisher) keys(ctx context.Context, at Point, prefix string) ([]string, error) {
	if err := p.fault(at); err != nil {
		return nil, err
	}
	return p.Store.Keys(ctx, prefix)
}

func (p *Publisher) commit(ctx context.Context, at Point, ops []kv.Op) (map[string]uint64, error) {
	if err := p.fault(at); err != nil {
		return nil, err
	}
	return p.Store.Commit(ctx, ops)
}

// faulty is the store, with a fault injection point at each read of the live version.
type faulty struct{ *Publisher }

func (f faulty) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	return f.read(ctx, AtRead, c, paths...)
}
