package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/agentfile"
	"kvexpress/internal/deliver"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/local"
)

// day is a store in the process, for days that pass in a moment.
type day struct {
	*local.Store
	down atomic.Bool
}

func (d *day) Addr() string { return "here" }

func (d *day) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	if d.down.Load() {
		return kv.Entry{}, unreachable()
	}
	return d.Store.Watch(ctx, path, since, wait)
}

func (d *day) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if d.down.Load() {
		return nil, unreachable()
	}
	return d.Store.Read(ctx, c, paths...)
}

// What a node costs its store while nothing happens, over a day; that it leaves
// nothing behind; and that a day without the store is none without the files.
func TestADay(t *testing.T) {
	t.Parallel()
	const targets, every = 7, 5 * time.Minute
	dir := t.TempDir() // made here: a bubble has to end before its clean-up
	synctest.Test(t, func(t *testing.T) {
		layout, err := kv.NewLayout("kvexpress")
		if err != nil {
			t.Fatal(err)
		}
		store := &day{Store: local.New()}
		send := func(key kv.Key, content string) {
			t.Helper()
			p := publish.Publisher{Store: store.Store, Layout: layout, By: "test"}
			if _, err := p.Publish(t.Context(), publish.Request{Key: key, Content: []byte(content)}); err != nil {
				t.Fatal(err)
			}
		}
		c := agentfile.Config{Layout: layout, Node: "web-17", StateDir: filepath.Join(dir, "state"), Reconcile: every}
		for i := range targets {
			key := kv.Key(fmt.Sprint("k", i))
			c.Targets = append(c.Targets, agentfile.Target{Target: deliver.Target{Key: key, File: filepath.Join(dir, string(key))}})
			send(key, "one\n")
		}
		a, err := New(Options{
			Config: c, Host: "web-17", Log: slog.New(slog.DiscardHandler),
			Open: func(agentfile.Store) ([]Store, error) { return []Store{store}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()

		all := func(state State, content string) {
			t.Helper()
			for _, s := range a.Status().Targets {
				got, err := os.ReadFile(s.File)
				if s.State != state || err != nil || string(got) != content {
					t.Errorf("%s: %s, %q, %v", s.Key, s.State, got, err)
				}
			}
		}
		pass(time.Minute)
		all(Current, "one\n")

		// One watch a minute, one look in five minutes.
		before := a.Status()
		const hours = 24
		pass(hours * time.Hour)
		after := a.Status()
		watches := uint64(targets * hours * 60)
		looks := uint64(targets * hours * int(time.Hour/every))
		if got := after.Requests - before.Requests; got > watches+looks+targets || got < (watches+looks)*9/10 {
			t.Errorf("%d requests in a day, want about %d", got, watches+looks)
		}
		all(Current, "one\n")

		// A day without the store.
		store.down.Store(true)
		pass(2 * time.Minute) // until all watches have ended
		for i := range targets {
			send(kv.Key(fmt.Sprint("k", i)), "two\n")
		}
		before = a.Status()
		pass(hours * time.Hour)
		after = a.Status()
		if got := after.Requests - before.Requests; got > hours*3600/5 {
			t.Errorf("%d requests in a day without the store", got)
		}
		all(Away, "one\n")
		if s := after.Store; s.Up || s.Since == nil || time.Since(*s.Since) < hours*time.Hour {
			t.Errorf("%+v", s)
		}
		store.down.Store(false)
		pass(time.Minute)
		all(Current, "two\n")

		// A store that comes and goes.
		for i := range 200 {
			store.down.Store(i%2 == 0)
			pass(rand.N(20 * time.Second))
		}
		store.down.Store(false)
		send("k0", "three\n")
		pass(time.Minute)
		send("k0", "two\n")
		pass(time.Second)
		all(Current, "two\n")
		if err := a.Healthy(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
