package publish

import (
	"context"
	"errors"
	"slices"
	"testing"

	"kvexpress/internal/kv"
)

// hurried is a Store that lets a test replace the write at AtNotify, or act before
// it.
type hurried struct {
	kv.Store
	seen  []kv.Op
	stand func(context.Context, []kv.Op) (map[string]uint64, error)
}

func (s *hurried) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if !hurries(ops) {
		return s.Store.Commit(ctx, ops)
	}
	s.seen = append(s.seen, ops...)
	return s.stand(ctx, ops)
}

// The write that follows a publish changes nothing: all indexes stay.
func TestHurryChangesNothing(t *testing.T) {
	s := &hurried{Store: newStore()}
	p := publisher(t, s)
	paths := []string{p.Layout.Data(hosts), p.Layout.Checksum(hosts), p.Layout.Manifest(hosts)}
	read := func() []uint64 {
		var all []uint64
		for _, path := range paths {
			all = append(all, get1(t, s.Store, path).Index)
		}
		return all
	}
	var before []uint64
	s.stand = func(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
		before = read()
		written, err := s.Store.Commit(ctx, ops)
		if err != nil {
			t.Errorf("no other write came in between, and it fails: %v", err)
		}
		return written, err
	}
	res := do(t, p, "mine\n")
	if len(s.seen) != 1 || !slices.Equal(before, read()) || slices.Contains(before, 0) {
		t.Errorf("it wrote %v; the indexes were %v, and are %v", s.seen, before, read())
	}
	mustBeLive(t, s, p.Layout, hosts, res, []byte("mine\n"))
}

// A version that was published in between stays.
func TestHurryAfterAnother(t *testing.T) {
	s := &hurried{Store: newStore()}
	p := publisher(t, s)
	var theirs Result
	s.stand = func(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
		theirs = do(t, publisher(t, s.Store), "theirs\n")
		written, err := s.Store.Commit(ctx, ops)
		if !errors.Is(err, kv.ErrConflict) {
			t.Errorf("got %v over another's version", err)
		}
		return written, err
	}
	if res := do(t, p, "mine\n"); res.Version != 1 || theirs.Version != 2 {
		t.Errorf("ours is version %d, theirs %d", res.Version, theirs.Version)
	}
	mustBeLive(t, s.Store, p.Layout, hosts, theirs, []byte("theirs\n"))
}

// A publish does not fail because of it, and does not wait for long.
func TestHurryFails(t *testing.T) {
	for name, cause := range map[string]error{
		"denied": kv.ErrDenied, "unreachable": kv.ErrUnreachable, "unknown": kv.ErrUnknownOutcome, "never": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &hurried{Store: newStore(), stand: func(ctx context.Context, _ []kv.Op) (map[string]uint64, error) {
				if cause == nil {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return nil, cause
			}}
			p := publisher(t, s)
			res := do(t, p, "mine\n")
			if len(s.seen) != 1 || res.Action != Published || res.Resolved {
				t.Errorf("got %+v after %v", res, s.seen)
			}
			mustBeLive(t, s.Store, p.Layout, hosts, res, []byte("mine\n"))
		})
	}
}
