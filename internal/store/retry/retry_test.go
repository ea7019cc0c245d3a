package retry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/retry"
)

// flaky fails each request with the next of errs, then for ever with the last
// of them, unless that is nil. It notes when each came.
type flaky struct {
	kv.Store
	errs []error
	came []time.Time
}

func (f *flaky) next() error {
	f.came = append(f.came, time.Now())
	err := f.errs[0]
	if len(f.errs) > 1 {
		f.errs = f.errs[1:]
	}
	return err
}

func (f *flaky) Read(context.Context, kv.Consistency, ...string) (kv.Snapshot, error) {
	return kv.Snapshot{"a": {State: kv.Present}}, f.next()
}

func (f *flaky) Commit(context.Context, []kv.Op) (map[string]uint64, error) {
	return map[string]uint64{"a": 1}, f.next()
}

func (f *flaky) Put(context.Context, string, []byte, uint64) error { return f.next() }

func (f *flaky) Keys(context.Context, string) ([]string, error) { return []string{"a"}, f.next() }

func fail(kind error) error {
	return &kv.StoreError{Op: "read a", Addr: "here", Kind: kind, Cause: errors.New("the cause")}
}

// requests makes one request of each kind against a store that fails with
// errs.
func requests(t *testing.T, p retry.Policy, errs []error, check func(t *testing.T, f *flaky, err error)) {
	for name, request := range map[string]func(context.Context, kv.Store) error{
		"Read":   func(ctx context.Context, s kv.Store) error { _, err := s.Read(ctx, kv.Default, "a"); return err },
		"Commit": func(ctx context.Context, s kv.Store) error { _, err := s.Commit(ctx, nil); return err },
		"Put":    func(ctx context.Context, s kv.Store) error { return s.Put(ctx, "a", nil, 0) },
		"Keys":   func(ctx context.Context, s kv.Store) error { _, err := s.Keys(ctx, ""); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &flaky{errs: errs}
				check(t, f, request(t.Context(), retry.New(f, p)))
			})
		})
	}
}

func TestRetriesUntilItWorks(t *testing.T) {
	errs := []error{fail(kv.ErrUnreachable), fail(kv.ErrUnreachable), fail(kv.ErrUnreachable), nil}
	requests(t, retry.Policy{For: time.Minute}, errs, func(t *testing.T, f *flaky, err error) {
		if err != nil || len(f.came) != 4 {
			t.Errorf("%d attempts end with %v, want 4 and success", len(f.came), err)
		}
	})
}

// Only a request that surely did nothing is repeated.
func TestOtherErrorsAreFinal(t *testing.T) {
	both := fmt.Errorf("%w: %w", fail(kv.ErrUnknownOutcome), kv.ErrUnreachable)
	for _, want := range []error{
		fail(kv.ErrUnknownOutcome), fail(kv.ErrDenied), fail(kv.ErrConflict), fail(kv.ErrNotStore),
		fail(kv.ErrTooLarge), fail(kv.ErrRequest), both, errors.New("of no kind"),
		&kv.StoreError{Op: "read", Kind: kv.ErrUnreachable, Final: true},
	} {
		requests(t, retry.Policy{For: time.Minute}, []error{want}, func(t *testing.T, f *flaky, err error) {
			if len(f.came) != 1 || err != want {
				t.Errorf("%d attempts end with %v, want 1 and %v", len(f.came), err, want)
			}
		})
		requests(t, retry.Policy{For: time.Minute}, []error{fail(kv.ErrUnreachable), want}, func(t *testing.T, f *flaky, err error) {
			if len(f.came) != 2 || err != want {
				t.Errorf("%d attempts end with %v, want 2 and %v", len(f.came), err, want)
			}
		})
	}
}

func TestGivesUpWhenTheTimeIsOver(t *testing.T) {
	const limit = 30 * time.Second
	requests(t, retry.Policy{For: limit}, []error{fail(kv.ErrUnreachable)}, func(t *testing.T, f *flaky, err error) {
		var typed *kv.StoreError
		if !errors.Is(err, kv.ErrUnreachable) || !errors.As(err, &typed) {
			t.Fatalf("it ends with %v, want the last error in it", err)
		}
		if said := fmt.Sprintf("%d attempts in 30s", len(f.came)); !strings.Contains(err.Error(), said) {
			t.Errorf("it says %q, want %q in it", err, said)
		}
		if passed := f.came[len(f.came)-1].Sub(f.came[0]); passed != limit {
			t.Errorf("the last attempt was made after %v, want %v", passed, limit)
		}
		// The wait grows, and never leaves its limits.
		for i := 1; i < len(f.came)-1; i++ { // the last is cut to fit
			wait, ceiling := f.came[i].Sub(f.came[i-1]), min(100*time.Millisecond<<min(i, 8), 2*time.Second)
			if wait < 100*time.Millisecond || wait > ceiling {
				t.Errorf("wait %d is %v, want 100ms to %v", i, wait, ceiling)
			}
		}
		if few, many := 15, 100; len(f.came) < few || len(f.came) > many {
			t.Errorf("%d attempts in 30s, want %d to %d", len(f.came), few, many)
		}
	})
}

// A fleet that lost its store at once must not come back at once.
func TestWaitsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := map[time.Duration]bool{}
		for range 20 {
			f := &flaky{errs: []error{fail(kv.ErrUnreachable), nil}}
			if _, err := retry.New(f, retry.Policy{For: time.Minute}).Keys(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			waits[f.came[1].Sub(f.came[0])] = true
		}
		if len(waits) < 10 {
			t.Errorf("20 first waits have %d lengths", len(waits))
		}
	})
}

func TestForZeroMeansNoRetry(t *testing.T) {
	want := fail(kv.ErrUnreachable)
	requests(t, retry.Policy{OnRetry: func(int, error) { t.Error("a retry is announced") }}, []error{want},
		func(t *testing.T, f *flaky, err error) {
			if len(f.came) != 1 || err != want {
				t.Errorf("%d attempts end with %v, want 1 and the bare error", len(f.came), err)
			}
		})
}

// slow fails after 5 s.
type slow struct{ kv.Store }

func (slow) Keys(context.Context, string) ([]string, error) {
	<-time.After(5 * time.Second)
	return nil, fail(kv.ErrUnreachable)
}

func TestOneAttemptCanTakeAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := retry.New(slow{}, retry.Policy{For: time.Second}).Keys(t.Context(), "")
		if passed := time.Since(start); passed != 5*time.Second {
			t.Errorf("it took %v, want one attempt", passed)
		}
		if err == nil || err.Error() != fail(kv.ErrUnreachable).Error() {
			t.Errorf("it ends with %v, want the bare error: nothing was repeated", err)
		}
	})
}

func TestOnRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := fail(kv.ErrUnreachable), fail(kv.ErrUnreachable)
		var told []error
		p := retry.Policy{For: time.Minute, OnRetry: func(attempt int, err error) {
			told = append(told, err)
			if attempt != len(told) {
				t.Errorf("attempt %d is announced as %d", len(told), attempt)
			}
		}}
		if _, err := retry.New(&flaky{errs: []error{first, second, nil}}, p).Keys(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if len(told) != 2 || told[0] != first || told[1] != second {
			t.Errorf("told of %v, want the two failures", told)
		}
	})
}

// A context that ends cuts the wait short, and shows in the error.
func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // less than any wait
		defer cancel()
		f := &flaky{errs: []error{fail(kv.ErrUnreachable)}}
		_, err := retry.New(f, retry.Policy{For: time.Minute}).Keys(ctx, "")
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, kv.ErrUnreachable) {
			t.Errorf("it ends with %v, want both reasons in it", err)
		}
		if passed := time.Since(start); passed != 50*time.Millisecond || len(f.came) != 1 {
			t.Errorf("%d attempts in %v, want 1 in 50ms", len(f.came), passed)
		}
	})
}

// A context that ended during the request is not waited on at all.
func TestContextEndedInARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f := &flaky{errs: []error{fail(kv.ErrUnreachable)}}
		p := retry.Policy{For: time.Minute, OnRetry: func(int, error) { t.Error("a retry is announced") }}
		_, err := retry.New(f, p).Keys(ctx, "")
		if !errors.Is(err, context.Canceled) || len(f.came) != 1 {
			t.Errorf("%d attempts end with %v, want 1 and context.Canceled", len(f.came), err)
		}
	})
}
