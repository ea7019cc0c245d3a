package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

const patience = 30 * time.Second

// follow runs a feed of some keys on a store until the test ends, and returns it with a channel that tells of changes.
func follow(t *testing.T, s feed.Store, keys ...kv.Key) (*feed.Feed, <-chan feed.Update) {
	changes := make(chan feed.Update, 10000)
	f := feed.New(feed.Options{Store: s, Layout: layout, Log: slog.New(slog.DiscardHandler), Changed: func(u feed.Update) { changes <- u }})
	for _, k := range keys {
		f.Use(k)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f, changes
}

// until waits for a change after which the condition holds.
func until(t *testing.T, changes <-chan feed.Update, holds func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-changes:
		case <-timeout:
			t.Fatal("the feed does not tell of the change")
		}
	}
}

func open(t *testing.T, server *consultest.Server, token string) *consul.Store {
	t.Helper()
	s, err := consul.New(consul.Options{Addr: server.Addr, Token: token, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s kv.Store, ops ...kv.Op) {
	t.Helper()
	if _, err := s.Commit(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
}

const lockRounds = 400

// A lock that was acknowledged before a publish is in every snapshot with that publish. TestLocksApart shows that it is not when
// both are watched on their own.
func TestLockBeforePublish(t *testing.T) {
	s := open(t, consultest.Start(t), "")
	f, changes := follow(t, s, "hosts")
	lock := layout.Lock("/etc/hosts", "web-1")
	check := func(snap *feed.Snapshot) (version uint64) {
		if snap != nil && snap.Live.Manifest != nil {
			version = snap.Live.Manifest.Version
		}
		if version == 0 {
			return 0
		}
		if locked, _ := strconv.ParseUint(snap.Locks[lock].Reason(), 10, 64); locked < version {
			t.Errorf("version %d comes with the lock of version %d", version, locked)
		}
		return version
	}
	asked := make(chan error, 1)
	go func() { // an agent that decides all the time
		for {
			snap, err := f.Confirm(t.Context(), "hosts", kv.Default, true)
			if err != nil || check(snap) == lockRounds {
				asked <- err
				return
			}
		}
	}()
	for n := uint64(1); n <= lockRounds; n++ {
		write(t, s, put(lock, fmt.Sprint(n)))
		write(t, s, published(t, "hosts", fmt.Sprint(n), n)...)
		check(f.Latest("hosts"))
	}
	until(t, changes, func() bool { return check(f.Latest("hosts")) == lockRounds })
	if err := <-asked; err != nil {
		t.Error(err)
	}
}

// The negative control of TestLockBeforePublish: two watches wake in no fixed order.
func TestLocksApart(t *testing.T) {
	s := open(t, consultest.Start(t), "")
	lock, version := layout.Lock("/etc/hosts", "web-1"), layout.Checksum("hosts")
	write(t, s, put(lock, "0"), put(version, "0"))
	var locked atomic.Uint64
	watch := func(path string, seen func(uint64)) {
		go func() {
			for since := uint64(0); t.Context().Err() == nil; {
				e, err := s.Watch(t.Context(), path, since, kv.MaxWait)
				if err != nil {
					return // the test has ended
				}
				since = e.Index
				n, _ := strconv.ParseUint(string(e.Value), 10, 64)
				seen(n)
			}
		}()
	}
	overtaken, rounds := make(chan bool, lockRounds+1), 0
	watch(lock, locked.Store)
	watch(version, func(n uint64) {
		if n > 0 {
			overtaken <- locked.Load() < n
		}
	})
	for n := uint64(1); n <= 20*lockRounds; n++ {
		write(t, s, put(lock, fmt.Sprint(n)))
		write(t, s, put(version, fmt.Sprint(n)))
		select {
		case yes := <-overtaken:
			if rounds++; yes {
				t.Logf("the publish overtook the lock in round %d", rounds)
				return
			}
		case <-time.After(patience):
			t.Fatal("the watch does not wake")
		}
	}
	t.Errorf("in %d rounds no publish overtook the lock: this test proves nothing on this machine", rounds)
}

// counted counts transactions.
type counted struct {
	*consul.Store
	reads atomic.Int64
}

func (c *counted) Read(ctx context.Context, how kv.Consistency, paths ...string) (kv.Snapshot, error) {
	c.reads.Add(1)
	return c.Store.Read(ctx, how, paths...)
}

// In Consul, every write to the store wakes the watch of an empty prefix. It is scanned once a second all the same.
func TestEmptyPrefix(t *testing.T) {
	s := &counted{Store: open(t, consultest.Start(t), "")}
	f, changes := follow(t, s, "hosts")
	until(t, changes, func() bool { return f.Latest("hosts") != nil })
	before, begun := s.reads.Load(), time.Now()
	for n := 0; time.Since(begun) < 2*time.Second; n++ {
		write(t, s, put("elsewhere", fmt.Sprint(n)))
	}
	if n, most := s.reads.Load()-before, 2+int64(time.Since(begun)/time.Second); n > most {
		t.Errorf("%d transactions in %s, want at most %d", n, time.Since(begun), most)
	}
	write(t, s, published(t, "hosts", "one", 1)...)
	until(t, changes, func() bool { return f.Latest("hosts").Live.SHA256 != "" })
}

// A token without the right to the locks gets no key, even if there are no locks.
func TestTokenWithoutLocks(t *testing.T) {
	server := consultest.Start(t, consultest.WithACL())
	root := open(t, server, server.ManagementToken)
	write(t, root, published(t, "hosts", "one", 1)...)
	write(t, root, published(t, "other", "one", 1)...)
	const reads = `key_prefix "kvexpress/hosts/" { policy = "read" }`
	for policy, want := range map[string]string{
		reads: layout.LocksDir(),
		reads + ` key_prefix "kvexpress/locks/" { policy = "read" }`: "",
	} {
		f, changes := follow(t, open(t, server, server.NewToken(t, policy)), "hosts", "other")
		until(t, changes, func() bool { return f.Latest("hosts") != nil && f.Latest("other") != nil })
		if err := f.Latest("hosts").Err; (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("with %s the error is %v", policy, err)
		}
		if err := f.Latest("other").Err; !errors.Is(err, kv.ErrDenied) {
			t.Errorf("with %s, the error of a denied key is %v", policy, err)
		}
	}
}
