package install

import (
	"context"

	"golang.org/x/sync/semaphore"
)

const (
	// maxBytes is how many bytes of files the deliveries of one process hold in memory in sum.
	maxBytes = 64 << 20
	// A delivery counts for workBytes at least, and for idleBytes while its check or exec runs: so both are limits of how many
	// there are at once, of requests, processes and descriptors.
	workBytes = 4 << 20
	idleBytes = 1 << 20
)

// Limits is what the deliveries of one process share.
type Limits struct{ bytes *semaphore.Weighted }

// NewLimits makes limits with nothing taken.
func NewLimits() *Limits { return &Limits{semaphore.NewWeighted(maxBytes)} }

// Share is what one delivery holds. It is more once it has to decode a file, and less while it waits for a check, an exec or
// another process, so that no delivery waits for those of others. nil is without limits.
type Share struct {
	limits *Limits
	held   int64
	old    int // bytes of the old content that are held beside the new ones
}

// Enter waits until there is a share, or ctx ends: then the error is its cause.
func (l *Limits) Enter(ctx context.Context) (*Share, error) {
	s := &Share{limits: l}
	return s, s.need(ctx, 0)
}

// Leave gives back all that is held.
func (s *Share) Leave() { s.keep(0) }

// need waits until so many bytes of new content may be held. Nothing is held meanwhile: two never wait for each other.
func (s *Share) need(ctx context.Context, bytes int) error {
	if s == nil {
		return nil
	}
	want := int64(max(workBytes, bytes+s.old))
	if want <= s.held {
		return nil
	}
	s.keep(0)
	if err := s.limits.bytes.Acquire(ctx, want); err != nil {
		return context.Cause(ctx)
	}
	s.held = want
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
	tx.share.keep(max(idleBytes, len(content)+len(tx.disk.content)))
}

// keepsOld reports whether the old bytes may be needed.
func (t Target) keepsOld() bool { return t.Diff || t.RestoreOnFailure || t.InPlace }
