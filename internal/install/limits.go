package install

import (
	"context"

	"golang.org/x/sync/semaphore"
)

const (
	// maxBytes is the most bytes of files in memory, for all installs of a process.
	maxBytes = 64 << 20
	// An install counts for workBytes at least, and for idleBytes while its check or exec runs. That limits the installs at once,
	// and so requests, processes and descriptors.
	workBytes = 4 << 20
	idleBytes = 1 << 20
)

// Limits are shared by the installs of one process.
type Limits struct{ bytes *semaphore.Weighted }

// NewLimits makes limits that are unused.
func NewLimits() *Limits { return &Limits{semaphore.NewWeighted(maxBytes)} }

// Share is the part of one install. It grows when the install decodes a file, and shrinks while the install waits for a check, an
// exec or another process: so no install waits for a command of another. A nil Share has no limits.
type Share struct {
	limits *Limits
	held   int64
	old    int // bytes of the old content, which are in memory beside the new ones
}

// Enter waits for a share, or for the end of ctx: then the error is its cause.
func (l *Limits) Enter(ctx context.Context) (*Share, error) {
	s := &Share{limits: l}
	return s, s.need(ctx, 0)
}

// Leave gives the share back.
func (s *Share) Leave() { s.keep(0) }

// need waits until the install may hold so many bytes of new content. It holds nothing meanwhile, so two never wait for each
// other.
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

// keepWhileRunning gives back all but the bytes that are needed while a command runs, and after it. content is compared then.
func (tx *transaction) keepWhileRunning(content []byte) {
	tx.share.keep(max(idleBytes, len(content)+len(tx.disk.content)))
}

// keepsOld reports whether the old bytes may be needed.
func (t Target) keepsOld() bool { return t.Diff || t.RestoreOnFailure || t.InPlace }
