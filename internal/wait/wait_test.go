package wait

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := Backoff{Least: time.Second, Most: time.Minute}
	for failures := range 70 {
		least := min(time.Second<<min(failures, 10), time.Minute) / 2
		if got := b.After(failures); got < least || got >= 2*least {
			t.Errorf("after %d failures %s, want from %s to %s", failures, got, least, 2*least)
		}
	}
	early := 0 // of 1,000 clients that failed together, half retry in the first half
	for range 1000 {
		if b.After(10) < 45*time.Second {
			early++
		}
	}
	if early < 400 || early > 600 {
		t.Errorf("%d of 1000 clients retry in the first half", early)
	}
}

func TestForAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, why := time.Now(), errors.New("asked to end")
		if err := For(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := For(ctx, time.Hour); !errors.Is(err, why) || For(ctx, 0) == nil || time.Since(began) != time.Minute {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		times, looks := []time.Duration{time.Second, time.Minute}, 0
		look := func() (bool, error) { looks++; return true, nil }
		if err := Again(t.Context(), nil, times, look); err != nil || looks != 3 || time.Since(began) != 2*time.Minute+time.Second {
			t.Errorf("got %v, %d looks after %s", err, looks, time.Since(began))
		}
		if err := Again(ctx, nil, times, look); !errors.Is(err, why) || looks != 4 {
			t.Errorf("got %v, %d looks", err, looks)
		}
		if err := Again(t.Context(), nil, times, func() (bool, error) { looks++; return true, why }); !errors.Is(err, why) ||
			looks != 5 {
			t.Errorf("got %v, %d looks", err, looks)
		}
	})
}
