package deliver

import (
	"context"

	"golang.org/x/sync/semaphore"

	"kvexpress/internal/codec"
)

const (
	// maxBytes is how many bytes of files the deliveries of one process hold in memory in sum.
	maxBytes = 64 << 20
	// minBytes is how much a delivery counts for at least while its check or exec runs: a limit of processes and descriptors.
	minBytes = 1 << 20
)

// Limits is what the deliveries of one process share.
type Limits struct{ bytes *semaphore.Weighted }

// NewLimits makes limits with nothing taken.
func NewLimits() *Limits { return &Limits{semaphore.NewWeighted(maxBytes)} }

// Share is what one delivery holds: as much as a file may have, and less while it waits for a check, an exec or another
// process, so that no delivery waits for those of others. nil is without limits.
type Share struct {
	limits *Limits
	held   int64
}

// Enter waits until there is a share, or ctx ends: then the error is its cause.
func (l *Limits) Enter(ctx context.Context) (*Share, error) {
	s := &Share{limits: l}
	return s, s.enter(ctx)
}

// Leave gives back all that is held.
func (s *Share) Leave() { s.keep(0) }

// enter takes all that a delivery needs. It must hold nothing.
func (s *Share) enter(ctx context.Context) error {
	if s == nil {
		return nil
	}
	if err := s.limits.bytes.Acquire(ctx, codec.MaxPlain); err != nil {
		return context.Cause(ctx)
	}
	s.held = codec.MaxPlain
	return nil
}

// keep gives back all but so many bytes.
func (s *Share) keep(bytes int) {
	if s == nil {
		return
	}
	if less := s.held - int64(bytes); less > 0 {
		s.held -= less
		s.limits.bytes.Release(less)
	}
}

// aside gives back what is not needed while a command runs, nor after it. content is what is compared then.
func (tx *transaction) aside(content []byte) {
	tx.share.keep(max(minBytes, len(content)+len(tx.disk.content)))
}

// keepsOld reports whether the old bytes may be needed.
func (t Target) keepsOld() bool { return t.Diff || t.RestoreOnFailure || t.InPlace }
