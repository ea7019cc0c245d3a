package feed_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
)

// A snapshot has the rollout of its key, of the same transaction. A change of the rollout alone is told apart, and costs no data.
func TestRollout(t *testing.T) {
	within(t, func(w *world) {
		var told []kv.Key
		w.changed = func(u feed.Update) { told = append(told, u.Rollouts...) }
		w.commit(put(layout.RolloutsDir()+".keep", ""))
		w.publish("hosts", "1\n", 1)
		w.Use("hosts")
		if e := w.holds("hosts", "1\n").Rows[layout.Rollout("hosts")]; e.State != kv.Absent {
			t.Fatalf("without a rollout the snapshot has %+v", e)
		}
		pass(time.Second)
		w.news()
		w.store.count()
		told = nil

		began := time.Now()
		w.commit(put(layout.Rollout("hosts"), "first"))
		pass(time.Second)
		if e := w.holds("hosts", "1\n").Rows[layout.Rollout("hosts")]; string(e.Value) != "first" || e.Index == 0 {
			t.Fatalf("the snapshot has the rollout %+v", e)
		}
		if w.Latest("hosts").Began.Sub(began) > time.Second {
			t.Error("the change waited for a check")
		}
		if _, data := w.store.count(); data > 0 || w.news() != "[] []" || !slices.Equal(told, []kv.Key{"hosts"}) {
			t.Errorf("the rollout was told as %v, with %d reads of data", told, data)
		}
	})
}

// Rollouts of keys that no agent uses are told, too.
func TestRolloutOfUnusedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, store: &spy{Store: embedded.New()}}
		rows := make(chan kv.Snapshot, 100)
		defer w.start(feed.Options{Rollouts: func(all kv.Snapshot) { rows <- all }})()
		w.commit(put(layout.RolloutsDir()+".keep", ""), put(layout.Rollout("hosts"), "1"))
		for all := range rows {
			if string(all[layout.Rollout("hosts")].Value) == "1" {
				return
			}
		}
	})
}

// Without a rollout, the writes of others cause no reading: in Consul, every write to the store wakes the watch of an empty folder.
func TestNoRollouts(t *testing.T) {
	s := &counted{Store: open(t, consultest.Start(t), "")}
	write(t, s, published(t, "hosts", "one", 1)...)
	f, changes := follow(t, s, "hosts")
	until(t, changes, func() bool { return f.Latest("hosts") != nil && f.Latest("hosts").Live.SHA256 != "" })
	before, begun := s.reads.Load(), time.Now()
	for n := 0; time.Since(begun) < 3*time.Second; n++ {
		write(t, s, put("elsewhere", fmt.Sprint(n)))
	}
	if n := s.reads.Load() - before; n > 1 { // the first wake
		t.Errorf("%d transactions in %s", n, time.Since(begun))
	}
	write(t, s, put(layout.Rollout("hosts"), "{}"))
	until(t, changes, func() bool { return f.Latest("hosts").Rows[layout.Rollout("hosts")].State == kv.Present })
}

// A token with the policy from before rollouts serves agents as before: it knows of no rollouts, and is no older for it.
func TestTokenWithoutRollouts(t *testing.T) {
	server := consultest.Start(t, consultest.WithACL())
	s := open(t, server, server.ManagementToken)
	write(t, s, published(t, "hosts", "one", 1)...)
	write(t, s, put(layout.Rollout("hosts"), "{}"))
	old := open(t, server, server.NewToken(t, `key_prefix "kvexpress/" { policy = "read" }`))
	f, changes := follow(t, old, "hosts")
	until(t, changes, func() bool { return f.Latest("hosts") != nil && f.Latest("hosts").Live.SHA256 != "" })
	if e := f.Latest("hosts").Rows[layout.Rollout("hosts")]; e.State != kv.Absent {
		t.Errorf("the snapshot has the rollout %+v", e)
	}
	if beat, err := old.Pulse(t.Context(), layout.RolloutsDir(), 0, 0); err != nil || !beat.Empty { // else the hub would be behind
		t.Errorf("the beat of the rollouts is %+v, %v", beat, err)
	}
	write(t, s, published(t, "hosts", "two", 2)...)
	until(t, changes, func() bool { return string(f.Latest("hosts").Rows[layout.Data("hosts")].Value) == "two" })
	if err := f.Status().Err; err != nil {
		t.Error(err)
	}
}
