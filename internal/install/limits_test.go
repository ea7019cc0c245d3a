package install

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/record"
)

// Many deliveries of the largest files, each with old bytes that it keeps, and a command that takes its time. In sum they
// stay below the limit, and none waits for another for ever.
func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLimits()
		var held, done atomic.Int64
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				s, err := l.Enter(t.Context())
				if err != nil {
					t.Error(err)
				}
				defer s.Leave()
				s.old = record.MaxPlain
				if err := s.need(t.Context(), record.MaxPlain); err != nil {
					t.Error(err)
				}
				if now := held.Add(s.held); now > maxBytes {
					t.Errorf("%d bytes are held", now)
				}
				<-time.After(time.Millisecond)
				held.Add(idleBytes - s.held)
				s.keep(idleBytes)
				<-time.After(time.Second)
				held.Add(-idleBytes)
				done.Add(1)
			})
		}
		all.Wait()
		if done.Load() != 200 {
			t.Errorf("%d deliveries ended", done.Load())
		}
		// An install that ends while it waits holds nothing.
		first, err := l.Enter(t.Context())
		if err == nil {
			err = first.need(t.Context(), maxBytes)
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s, err := l.Enter(ctx); !errors.Is(err, context.Canceled) || s.held != 0 {
			t.Errorf("%v, and %d bytes", err, s.held)
		}
		first.Leave()
	})
}
