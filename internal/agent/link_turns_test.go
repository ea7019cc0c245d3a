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
		l := newTestLink(f)
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
		if l.away() == nil {
			t.Error("the store counts as there")
		}
		f.answer = func(context.Context) error { return nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := l.Watch(ctx, "p", 0, time.Minute); err != nil || l.away() != nil {
			t.Errorf("in an hour, nobody else has tried: %v, %v", err, l.away())
		}
	})
}

// The store goes away and comes back just before a watch that may be made is noted. Its target has to look all the same.
// Taken out: the look at what has happened since; then it would wait for a change.
func TestLinkEndsAWatchFromBeforeItWasNoted(t *testing.T) {
	t.Parallel()
	f := &faulty{answer: func(context.Context) error { return nil }}
	l := newTestLink(f)
	_, _ = l.Watch(t.Context(), "p", 0, time.Minute)
	before, err := l.turn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.report(t.Context(), before, unreachable())
	l.report(t.Context(), before, nil)
	ctx, end := l.pend(t.Context(), before)
	if !errors.Is(context.Cause(ctx), errMissed) {
		t.Errorf("the watch goes on, %v", context.Cause(ctx))
	}
	end()
	after, err := l.turn(t.Context()) // the control
	if err != nil {
		t.Fatal(err)
	}
	ctx, end = l.pend(t.Context(), after)
	if ctx.Err() != nil {
		t.Errorf("a watch that began after it is ended: %v", context.Cause(ctx))
	}
	end()
	if len(l.pending) != 0 {
		t.Errorf("%d watches are left", len(l.pending))
	}
}
