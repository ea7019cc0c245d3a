package feed_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

// All questions about a key share a read that begins after them, and keys share transactions.
func TestConfirmShares(t *testing.T) {
	within(t, func(w *world) {
		answers := func(after time.Duration) {
			w.store.set(func() {
				w.store.delay = func(_ context.Context, answered bool) {
					if answered {
						pass(after)
					}
				}
			})
		}
		answers(time.Millisecond)
		keys := make([]kv.Key, 500)
		for i := range keys {
			keys[i] = kv.Key(fmt.Sprint("key-", i))
			w.publish(keys[i], string(keys[i]), 1)
			w.Use(keys[i])
		}
		pass(time.Second)
		if n, _ := w.store.count(); n > 500/15+30 {
			t.Errorf("%d transactions for the first snapshots of %d keys", n, len(keys))
		}
		pass(time.Second) // until then the prefix was empty for the watch
		w.store.count()
		ask := func(some []kv.Key, times int) {
			var all sync.WaitGroup
			for range times {
				for _, k := range some {
					all.Go(func() {
						asked := time.Now()
						if s := w.confirm(k, true); s.Began.Before(asked) || string(s.Rows[layout.Data(k)].Value) != string(k) {
							t.Errorf("%s was asked for at %s: %+v", k, asked, s)
						}
					})
				}
			}
			all.Wait()
		}
		ask(keys[:3], 1000)
		if n, data := w.store.count(); n > 6 || data > 0 {
			t.Errorf("%d transactions for 3,000 questions about 3 keys, %d with data", n, data)
		}
		answers(100 * time.Millisecond)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { ask(keys[:1], 1) })
			pass(time.Millisecond)
		}
		all.Wait()
		if n, _ := w.store.count(); n > 12 {
			t.Errorf("%d transactions for 1,000 questions in 1 s, when an answer takes 100 ms", n)
		}
		answers(time.Millisecond)
		ask(keys, 1)
		if n, data := w.store.count(); n > 500/20+6 || data > 0 {
			t.Errorf("%d transactions for %d keys, %d with data", n, len(keys), data)
		}
	})
}

// A confirmed snapshot begins after the question, also if a read of the key is in flight.
func TestConfirmBegins(t *testing.T) {
	within(t, func(w *world) {
		w.publish("hosts", "one", 1)
		w.Use("hosts")
		w.holds("hosts", "one")
		w.store.set(func() {
			w.store.delay = func(_ context.Context, after bool) {
				if after {
					pass(100 * time.Millisecond)
				}
			}
		})
		var all sync.WaitGroup
		all.Go(func() { w.confirm("hosts", false) })
		pass(50 * time.Millisecond) // it was answered, and the answer is on its way
		w.publish("hosts", "two", 2)
		asked := time.Now()
		if s := w.confirm("hosts", true); s.Live.Manifest.Version != 2 || s.Began.Before(asked) {
			t.Errorf("confirmed %+v", s)
		}
		all.Wait()
		ended, cancel := context.WithTimeout(w.Context(), time.Millisecond)
		defer cancel()
		if _, err := w.Confirm(ended, "hosts", kv.Default, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a question that ended gives %v", err)
		}
	})
}
