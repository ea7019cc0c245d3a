package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// resting is a store at rest, as Consul is: who has seen all waits for as long as it said.
type resting struct{ faulty }

func (w *resting) Watch(ctx context.Context, path string, since uint64, most time.Duration) (kv.Entry, error) {
	if err := w.answer(ctx); err != nil {
		return kv.Entry{}, err
	}
	if since == 7 {
		_ = wait.For(ctx, most)
	}
	return w.faulty.Watch(ctx, path, since, most)
}

// One target's read finds the store away. A watch of another that has seen all must not wait for a change then, nor for
// its turn: its target learns of it. What it asks next is answered at once, and all others wait for that. Taken out: that a
// watch with an index fails; then the store is away for a minute although it answers.
func TestLinkTriesWithWhatIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := true
		f := &resting{}
		f.answer = func(context.Context) error {
			if away {
				return unreachable()
			}
			return nil
		}
		l := newTestSource(f)
		if _, err := l.Read(t.Context(), kv.Default, "p"); !errors.Is(err, kv.ErrUnreachable) {
			t.Fatal(err)
		}
		away = false
		began := time.Now()
		if _, err := l.Watch(t.Context(), "p", 7, time.Minute); !errors.Is(err, kv.ErrUnreachable) || !time.Now().Equal(began) {
			t.Errorf("it waited for %v: %v", time.Since(began), err)
		}
		_, err := l.Watch(t.Context(), "p", 0, time.Minute)
		if took := time.Since(began); took > 2*time.Second || err != nil {
			t.Errorf("it tried for %v: %v", took, err)
		}
		if _, err := l.Read(t.Context(), kv.Default, "p"); err != nil || l.unreachable() != nil {
			t.Errorf("after that: %v, %v", err, l.unreachable())
		}
		// And when nothing is wrong, it waits.
		began = time.Now()
		if _, err := l.Watch(t.Context(), "p", 7, time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("a watch at rest lasted %v: %v", time.Since(began), err)
		}
	})
}
