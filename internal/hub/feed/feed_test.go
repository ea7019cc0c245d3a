package feed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// Every change arrives without a wait, and the feed tells which key or lock it was.
func TestChanges(t *testing.T) {
	within(t, func(w *world) {
		w.publish("hosts", "one", 1)
		pass(time.Second) // until then the prefix was empty
		w.Use("hosts")
		w.Use("other")
		first := w.holds("hosts", "one")
		w.holds("other", "")
		if got := w.news(); got != "[hosts other] []" {
			t.Errorf("told %s", got)
		}
		if first.Live.State != record.Managed || first.Live.Manifest.Version != 1 || first.Rows[layout.Stop("hosts")].State != kv.Absent {
			t.Errorf("the snapshot is %+v", first)
		}
		lock := layout.Lock("/etc/hosts", "web-1")
		gone := kv.Op{Verb: kv.Delete, Path: lock}
		for _, change := range []struct {
			name string
			ops  []kv.Op
			want string
		}{
			{"a version", published(t, "hosts", "two", 2), "[hosts] []"},
			{"a stop", []kv.Op{put(layout.Stop("hosts"), "why")}, "[hosts] []"},
			{"the end of the stop", []kv.Op{{Verb: kv.Delete, Path: layout.Stop("hosts")}}, "[hosts] []"},
			{"a lock", []kv.Op{put(lock, "why")}, "[] [" + lock + "]"},
			{"another reason", []kv.Op{put(lock, "because")}, "[] [" + lock + "]"},
			{"the end of the lock", []kv.Op{gone}, "[] [" + lock + "]"},
			{"a version and a lock", append(published(t, "hosts", "three", 3), put(lock, "x")), "[hosts] [" + lock + " " + lock + "]"},
			{"history", []kv.Op{put(layout.HistoryData("hosts", 2), "two")}, "[] []"},
			{"another key", published(t, "unused", "x", 1), "[] []"},
		} {
			pass(time.Second)
			w.store.count()
			begun := time.Now()
			w.commit(change.ops...)
			if got := w.news(); got != change.want || !time.Now().Equal(begun) {
				t.Errorf("%s: told %s after %s, want %s at once", change.name, got, time.Since(begun), change.want)
			}
			if n, data := w.store.count(); n > 2 || data > strings.Count(change.name, "version") {
				t.Errorf("%s costs %d transactions, %d with data", change.name, n, data)
			}
		}
		s := w.holds("hosts", "three")
		if o := w.Latest("other"); s.Locks[lock].Reason() != "x" || o.Locks[lock].Reason() != "x" {
			t.Errorf("the locks are %v and %v", s.Locks, o.Locks)
		}
		w.commit(put(layout.Stop("other"), "why"))
		pass(time.Second)
		if a, b := fmt.Sprintf("%p", s.Locks), fmt.Sprintf("%p", w.Latest("other").Locks); a != b {
			t.Error("snapshots with the same locks do not share them")
		}
	})
}

// A key that is deleted and made again, with the same bytes, too, is new.
func TestMadeAgain(t *testing.T) {
	within(t, func(w *world) {
		w.publish("hosts", "one", 7)
		w.Use("hosts")
		w.holds("hosts", "one")
		var gone []kv.Op
		for _, path := range []string{layout.Data("hosts"), layout.Checksum("hosts"), layout.Manifest("hosts")} {
			gone = append(gone, kv.Op{Verb: kv.Delete, Path: path})
		}
		w.commit(gone...)
		pass(time.Second)
		w.holds("hosts", "")
		w.publish("hosts", "one", 3)
		pass(time.Second)
		if s := w.holds("hosts", "one"); s.Live.Manifest.Version != 3 {
			t.Errorf("the manifest is %+v", s.Live.Manifest)
		}
		w.commit(append(gone, published(t, "hosts", "one", 1)...)...)
		pass(time.Second)
		if s := w.holds("hosts", "one"); s.Live.Manifest.Version != 1 {
			t.Errorf("the manifest is %+v", s.Live.Manifest)
		}
	})
}

// kvexpress 1.x puts the data, and the checksum after it. Between the two nothing is handed on; what does not settle is.
func TestTornWrites(t *testing.T) {
	within(t, func(w *world) {
		w.publish("hosts", "one", 1)
		w.Use("hosts")
		w.holds("hosts", "one")
		w.news()
		sum := put(layout.Checksum("hosts"), record.Checksum([]byte("two")))
		for _, gap := range []time.Duration{0, 10 * time.Millisecond, 300 * time.Millisecond} {
			w.publish("hosts", "one", 1)
			pass(time.Second)
			w.news()
			w.commit(put(layout.Checksum("hosts"), strings.Repeat("0", 64))) // in another order, which wakes the feed
			pass(gap)
			w.holds("hosts", "one")
			w.commit(put(layout.Data("hosts"), "two"), sum)
			pass(21 * time.Millisecond)
			if s, got := w.holds("hosts", "two"), w.news(); got != "[hosts] []" || s.Live.State != record.Unmanaged {
				t.Errorf("after %s: told %s, state %s", gap, got, s.Live.State)
			}
		}
		w.commit(put(layout.Checksum("hosts"), strings.Repeat("0", 64)))
		pass(500 * time.Millisecond)
		if got := w.news(); got != "[] []" {
			t.Errorf("told %s of a torn key", got)
		}
		pass(200 * time.Millisecond)
		if s := w.Latest("hosts"); w.news() != "[hosts] []" || !s.Live.Torn || s.Live.State != record.Damaged {
			t.Errorf("a key that stays torn is %+v", s.Live)
		}
		begun := time.Now()
		if s := w.confirm("hosts", true); !s.Live.Torn || !s.HasData() || !time.Now().Equal(begun) {
			t.Errorf("the torn key is confirmed after %s as %+v", time.Since(begun), s.Live)
		}
		w.commit(sum) // a repair
		pass(20 * time.Millisecond)
		w.holds("hosts", "two")
	})
}

// Damage is repaired with the same checksum, which leaves its row as it was.
func TestRepaired(t *testing.T) {
	within(t, func(w *world) {
		broken := published(t, "hosts", "one", 1)
		broken[0].Value, broken[0].Flags = []byte("no brotli"), 1
		w.commit(broken...)
		w.Use("hosts")
		pass(2 * time.Second)
		if s := w.Latest("hosts"); s.Live.State != record.Damaged || s.Live.Torn || s.Live.SHA256 != "" {
			t.Errorf("the snapshot is %+v", s.Live)
		}
		w.commit(put(layout.Data("hosts"), "one"))
		w.holds("hosts", "one")
	})
}

// Without the store, agents keep what they have, and the age tells. Afterwards the changes arrive.
func TestCutOff(t *testing.T) {
	within(t, func(w *world) {
		w.publish("hosts", "one", 1)
		w.Use("hosts")
		before := w.holds("hosts", "one")
		pass(time.Minute)
		if age := w.Age(); age > 5*time.Second {
			t.Errorf("without a change, the age is %s", age)
		}
		w.store.set(func() { w.store.cut = true })
		w.publish("hosts", "two", 2)
		w.Use("new")
		pass(time.Minute)
		if age := w.Age(); age < time.Minute || age > 66*time.Second || w.Status().Err == nil {
			t.Errorf("after a minute without the store, the age is %s, the status %+v", age, w.Status())
		}
		if s := w.holds("hosts", "one"); s.Live.Manifest.Version != before.Live.Manifest.Version || w.Latest("new") != nil {
			t.Errorf("the snapshots are %+v and %+v", s, w.Latest("new"))
		}
		for _, k := range []kv.Key{"hosts", "new"} {
			if s, err := w.Confirm(w.Context(), k, kv.Consistent, false); !errors.Is(err, kv.ErrUnreachable) {
				t.Errorf("%s is confirmed as %+v, with %v", k, s, err)
			}
		}
		w.store.count()
		pass(time.Minute)
		if n, _ := w.store.count(); n > 100 {
			t.Errorf("%d transactions in a minute without the store", n)
		}
		w.store.set(func() { w.store.cut = false })
		pass(5 * time.Second)
		w.holds("hosts", "two")
		w.holds("new", "")
		if age := w.Age(); age > 5*time.Second || w.Status().Err != nil {
			t.Errorf("with the store, the age is %s, the status %+v", age, w.Status())
		}
	})
}

// A watch that hangs looks like one without changes.
func TestWatchHangs(t *testing.T) {
	within(t, func(w *world) {
		w.store.set(func() { w.store.hangs = true })
		w.publish("hosts", "one", 1)
		w.Use("hosts")
		pass(time.Second) // the watch waits now, and hangs
		w.publish("hosts", "two", 2)
		pass(5 * time.Second)
		w.holds("hosts", "two")
		w.store.set(func() { w.store.hangs = false })
		w.publish("hosts", "three", 3)
		pass(5 * time.Second)
		w.holds("hosts", "three")
		w.publish("hosts", "four", 4) // the watch was started again
		pass(minGap)
		w.holds("hosts", "four")
	})
}

const minGap = 20 * time.Millisecond

// A busy store is scanned every 20 ms, one without a row once a second, and one without changes not at all.
func TestRates(t *testing.T) {
	within(t, func(w *world) {
		w.Use("hosts")
		pass(time.Second)
		w.store.count()
		for i := range 10 {
			w.commit(put("elsewhere", fmt.Sprint(i)))
			pass(300 * time.Millisecond)
		}
		if n, _ := w.store.count(); n > 4 {
			t.Errorf("%d scans in 3 s of an empty prefix", n)
		}
		w.publish("hosts", "one", 1)
		pass(2 * time.Second)
		w.store.count()
		for i := range 1000 {
			w.commit(put(layout.Data("unused"), fmt.Sprint(i)))
			pass(time.Millisecond)
		}
		if n, data := w.store.count(); n < 45 || n > 51 || data > 0 {
			t.Errorf("%d scans in a second of writes, %d with data", n, data)
		}
		pass(10 * time.Second)
		w.store.count()
		pass(time.Hour)
		if n, data := w.store.count(); n < 45 || n > 90 || data > 0 {
			t.Errorf("%d reads in an hour without changes, %d with data; want one a minute, without", n, data)
		}
	})
}

// A row that is denied is not absent, and without the locks no key is handed on.
func TestDenied(t *testing.T) {
	var secret string
	var mu sync.Mutex
	deny := embedded.Deny(func(path string, write bool) bool {
		mu.Lock()
		defer mu.Unlock()
		return !write && secret != "" && strings.HasPrefix(path, secret)
	})
	hide := func(path string) {
		mu.Lock()
		defer mu.Unlock()
		secret = path
	}
	for _, path := range []string{layout.Stop("hosts"), layout.Checksum("hosts"), layout.Dir("hosts"), layout.LocksDir()} {
		within(t, func(w *world) {
			w.publish("hosts", "one", 1)
			w.Use("hosts")
			w.holds("hosts", "one")
			pass(time.Second)
			hide(path)
			w.commit(put(layout.HistoryData("hosts", 1), "wakes the feed"))
			pass(time.Second)
			if s := w.Latest("hosts"); !denied(s) || !strings.Contains(s.Err.Error(), "kvexpress acl hub") || s.Live.SHA256 != "" {
				t.Errorf("without %s, the snapshot is %+v", path, s)
			}
			if s := w.confirm("hosts", true); !denied(s) {
				t.Errorf("without %s, %+v is confirmed", path, s)
			}
			w.news()
			hide("")
			pass(time.Minute + 20*time.Second)
			w.holds("hosts", "one")
			if got := w.news(); got != "[hosts] []" {
				t.Errorf("told %s", got)
			}
		}, deny)
	}
	within(t, func(w *world) {
		w.publish("hosts", "one", 1)
		hide(layout.Data("hosts"))
		defer hide("")
		w.Use("hosts")
		synctest.Wait()
		if s := w.Latest("hosts"); !denied(s) {
			t.Errorf("without the data, the snapshot is %+v", s)
		}
	}, deny)
}

// The data that changed last is in memory, the rest is read when it is asked for.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, store: &spy{Store: embedded.New()}}
		defer w.start(feed.Options{MaxHeld: 2500})()
		text := func(k kv.Key) string { return strings.Repeat(string(k), 1000/len(k)) }
		keys := []kv.Key{"aa", "bb", "cc", "dd"}
		for _, k := range keys {
			w.publish(k, text(k), 1)
			w.Use(k)
			synctest.Wait()
		}
		pass(time.Second)
		w.publish("aa", text("ee"), 2)
		pass(time.Second)
		got := ""
		for _, k := range keys {
			s := w.Latest(k)
			got += fmt.Sprint(k, s.HasData(), " ")
			if s.Live.State != record.Managed {
				t.Errorf("%s is %s", k, s.Live.State)
			}
		}
		if got != "aatrue bbfalse ccfalse ddtrue " || w.Status().Held != 2000 {
			t.Errorf("in memory: %s, %d bytes", got, w.Status().Held)
		}
		if s := w.confirm("bb", true); string(s.Rows[layout.Data("bb")].Value) != text("bb") || w.Status().Held > 2500 {
			t.Errorf("confirmed %+v, with %d bytes in memory", s, w.Status().Held)
		}
		for _, k := range keys {
			w.Release(k)
			if w.Latest(k) != nil {
				t.Errorf("%s is still followed", k)
			}
		}
		if s := w.Status(); s.Held != 0 || s.Keys != 0 {
			t.Errorf("the status is %+v", s)
		}
		if s := w.confirm("cc", true); string(s.Rows[layout.Data("cc")].Value) != text("cc") || w.Status().Keys != 0 {
			t.Errorf("a key that is not in use is confirmed as %+v", s)
		}
	})
}

// After its end, a feed answers at once.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := feed.New(feed.Options{Store: embedded.New(), Layout: layout})
		f.Use("hosts") // before Run
		asked := make(chan error, 1)
		go func() {
			_, err := f.Confirm(t.Context(), "hosts", kv.Default, false)
			asked <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		synctest.Wait()
		if err := <-asked; err != nil || f.Latest("hosts") == nil {
			t.Errorf("the question from before Run: %v, %+v", err, f.Latest("hosts"))
		}
		cancel()
		<-done
		if _, err := f.Confirm(t.Context(), "hosts", kv.Default, false); err == nil {
			t.Error("it is confirmed after the end")
		}
		f.Use("other")
		f.Release("other")
		f.Release("never used")
	})
}
