package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The watch that tries while all others wait is ended, since the store was seen to come and go meanwhile by what was
// asked of it before. Then it is another's turn. Taken out: that it is reported; then all wait for it for ever.
func TestLinkWhenTheOneThatTriesIsEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{answer: func(context.Context) error { return nil }}
		l := newTestSource(f)
		_, _ = l.Watch(t.Context(), "p", 0, time.Minute)
		old := ticket{turns: l.turns}
		l.report(t.Context(), old, unreachable())
		pass(time.Second)
		f.answer = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		tried := make(chan error, 1)
		go func() {
			_, err := l.Watch(t.Context(), "p", 0, time.Minute)
			tried <- err
		}()
		synctest.Wait() // it tries
		for range 2 {
			l.report(t.Context(), old, nil)
			l.report(t.Context(), ticket{turns: l.turns}, unreachable())
		}
		if err := <-tried; !errors.Is(err, errMissed) {
			t.Errorf("the one that tried ends with %v", err)
		}
		if l.unreachable() == nil {
			t.Error("the store counts as there")
		}
		f.answer = func(context.Context) error { return nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := l.Watch(ctx, "p", 0, time.Minute); err != nil || l.unreachable() != nil {
			t.Errorf("in an hour, nobody else has tried: %v, %v", err, l.unreachable())
		}
	})
}
