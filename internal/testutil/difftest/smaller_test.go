package difftest

import (
	"context"
	"errors"
	"slices"
)

// Smaller is the sequence without all those steps that are not needed for the
// servers to differ, each time from the beginning: without any one step more
// they are the same. It is nil if they do not differ when the sequence is the
// first that they see. The error is how they differ.
func (s *Servers) Smaller(ctx context.Context, seq Sequence) (Sequence, error) {
	err := s.alone(ctx, seq)
	if err == nil {
		return nil, nil
	}
	for size := len(seq); size > 0; {
		removed := false
		for at := 0; at+size <= len(seq) && len(seq) > size; {
			less := slices.Delete(slices.Clone(seq), at, at+size)
			var d *Difference
			if lessErr := s.alone(ctx, less); errors.As(lessErr, &d) {
				seq, err, removed = less, lessErr, true
				continue
			}
			at += size
		}
		if size > 1 || !removed {
			size /= 2
		}
	}
	return seq, err
}

// alone runs a sequence as if nothing had been seen before.
func (s *Servers) alone(ctx context.Context, seq Sequence) error {
	s.synced = false
	return s.Run(ctx, seq)
}
