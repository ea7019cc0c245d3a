package feed_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// Whatever the store's delays and failures: no snapshot has a version without the lock that was acknowledged before it, none goes
// back, a confirmed one has what was acknowledged before the question, and in the end each key is as in the store.
//
// Each version has a number, and so has the lock that is set before it.
func TestAnyOrder(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 40
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { anyOrder(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// last is how many versions are published.
const last = uint64(40)

func anyOrder(t *testing.T, random *rand.Rand) {
	var mu sync.Mutex
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	slow, lossy := dice(30), dice(4) == 0
	w := &world{T: t, store: &spy{Store: embedded.New()}}
	w.store.delay = func(context.Context, bool) { pass(time.Duration(dice(slow+1)) * time.Millisecond) }
	w.store.fails = func() bool {
		mu.Lock()
		defer mu.Unlock()
		return lossy && random.IntN(10) == 0
	}
	keys := []kv.Key{"a", "b/c", "d"}
	lock := layout.Lock("/etc/a", "web-1")
	acked, seen := map[kv.Key]uint64{}, map[kv.Key]uint64{} // guarded by mu
	text := func(n uint64) string { return fmt.Sprint("version ", n) }
	versions := map[string]uint64{}
	for n := range last + 1 {
		versions[record.Checksum([]byte(text(n)))] = n
	}
	check := func(s *feed.Snapshot) (version uint64) {
		if s.Err != nil || s.Live.State == record.Damaged {
			t.Errorf("a snapshot is %+v", s)
		}
		version = versions[s.Live.SHA256] // 0: absent
		if locked, _ := strconv.ParseUint(s.Locks[lock].Reason(), 10, 64); locked < version {
			t.Errorf("a snapshot has version %d of %s, and the lock of version %d", version, s.Key, locked)
		}
		return version
	}
	w.changed = func(u feed.Update) {
		for _, k := range u.Keys {
			mu.Lock()
			if s := w.Latest(k); s != nil {
				version := check(s)
				if version < seen[k] && version > 0 {
					t.Errorf("%s went from version %d to %d", k, seen[k], version)
				}
				seen[k] = max(seen[k], version)
			}
			mu.Unlock()
		}
	}
	defer w.start(feed.Options{MaxHeld: 1 + dice(200)})()
	var all sync.WaitGroup
	all.Go(func() { // the publisher
		for n := uint64(1); n <= last; n++ {
			k := keys[dice(len(keys))]
			pass(time.Duration(dice(60)) * time.Millisecond)
			w.commit(put(lock, fmt.Sprint(n)))
			if dice(3) == 0 {
				w.commit(put(layout.Stop(k), fmt.Sprint(n)))
			}
			ops := published(t, k, text(n), n)
			switch dice(4) {
			case 0: // kvexpress 1.x
				w.commit(ops[0])
				pass(time.Duration(dice(40)) * time.Millisecond)
				w.commit(ops[1])
			case 1: // deleted and made again
				for i := range ops {
					ops = append(ops, kv.Op{Verb: kv.Delete, Path: ops[i].Path})
				}
				w.commit(ops[3:]...)
				w.commit(ops[:3]...)
			default:
				w.commit(ops...)
			}
			mu.Lock()
			acked[k] = n
			mu.Unlock()
		}
	})
	for _, k := range keys {
		w.Use(k)
		all.Go(func() { // an agent
			for range 60 {
				pass(time.Duration(dice(50)) * time.Millisecond)
				mu.Lock()
				least := acked[k]
				mu.Unlock()
				asked, data := time.Now(), dice(2) == 0
				s, err := w.Confirm(t.Context(), k, kv.Consistency(2*dice(2)), data)
				if err != nil {
					continue
				}
				if version := check(s); version < least && version > 0 || s.Began.Before(asked) || data && !s.HasData() {
					t.Errorf("%s was confirmed with version %d; version %d was acknowledged before the question", k, version, least)
				}
			}
		})
	}
	all.Wait()
	mu.Lock()
	lossy = false
	mu.Unlock()
	pass(10 * time.Second)
	if age := w.Age(); age > 6*time.Second {
		t.Errorf("in the end the age is %s", age)
	}
	for _, k := range keys {
		rows, err := w.store.Store.Read(t.Context(), kv.Default, layout.Checksum(k), layout.Stop(k), lock)
		s := w.Latest(k)
		if err != nil || s.Live.SHA256 != string(rows[layout.Checksum(k)].Value) || check(s) != acked[k] ||
			s.Rows[layout.Stop(k)].Index != rows[layout.Stop(k)].Index || s.Locks[lock].Index != rows[lock].Index {
			t.Errorf("in the end %s is %+v, and in the store %+v", k, s, rows)
		}
	}
	for _, k := range keys {
		w.Release(k)
	}
	if held := w.Status().Held; held != 0 {
		t.Errorf("without keys, %d bytes of data are in memory", held)
	}
}
