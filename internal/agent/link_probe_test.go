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

// waits is a store at rest, as Consul is: who has seen all waits for as long as it said.
type waits struct{ faulty }

func (w *waits) Watch(ctx context.Context, path string, since uint64, most time.Duration) (kv.Entry, error) {
	if err := w.answer(ctx); err != nil {
		return kv.Entry{}, err
	}
	if since == 7 {
		_ = wait.For(ctx, most)
	}
	return w.faulty.Watch(ctx, path, since, most)
}

// One target's read finds the store away. The next request is a watch of another, which
// has seen all: it must not wait for a change while the store counts as away, since all
// others wait for it; and it is told that it may have missed something. Taken out: that it
// asks without an index; then the store is away for a minute although it answers.
func TestLinkTriesWithWhatIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := true
		f := &waits{}
		f.answer = func(context.Context) error {
			if away {
				return unreachable()
			}
			return nil
		}
		l := newTestLink(f)
		if _, err := l.Read(t.Context(), kv.Default, "p"); !errors.Is(err, kv.ErrUnreachable) {
			t.Fatal(err)
		}
		away = false
		began := time.Now()
		_, err := l.Watch(t.Context(), "p", 7, time.Minute)
		if took := time.Since(began); took > 2*time.Second || !errors.Is(err, errMissed) || !errors.Is(err, kv.ErrUnreachable) {
			t.Errorf("it tried for %v: %v", took, err)
		}
		if _, err := l.Read(t.Context(), kv.Default, "p"); err != nil || l.away() != nil {
			t.Errorf("after that: %v, %v", err, l.away())
		}
		// And when nothing is wrong, it waits.
		began = time.Now()
		if _, err := l.Watch(t.Context(), "p", 7, time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("a watch at rest lasted %v: %v", time.Since(began), err)
		}
	})
}
