package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

var layout, _ = kv.NewLayout("kvexpress")

// spy is a store in memory that counts, delays and fails.
type spy struct {
	*embedded.Store
	mu    sync.Mutex
	reads [][]string // the paths of each transaction
	cut   bool
	hangs bool                                  // pulses that wait never return
	delay func(ctx context.Context, after bool) // before and after a read; may be nil
	fails func() bool                           // may be nil
}

var errCut = &kv.StoreError{Op: "read", Kind: kv.ErrUnreachable}

func (s *spy) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *spy) state() (cut, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut, s.hangs
}

func (s *spy) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	var delay func(context.Context, bool)
	s.set(func() { s.reads, delay = append(s.reads, paths), s.delay })
	if delay != nil {
		delay(ctx, false)
	}
	if cut, _ := s.state(); cut || s.fails != nil && s.fails() {
		return nil, errCut
	}
	rows, err := s.Store.Read(ctx, c, paths...)
	if delay != nil {
		delay(ctx, true)
	}
	return rows, err
}

func (s *spy) Pulse(ctx context.Context, dir string, since uint64, wait time.Duration) (kv.Beat, error) {
	cut, hangs := s.state()
	if cut || s.fails != nil && s.fails() {
		return kv.Beat{}, errCut
	}
	if hangs && since > 0 {
		<-ctx.Done()
		return kv.Beat{}, ctx.Err()
	}
	return s.Store.Pulse(ctx, dir, since, wait)
}

// count returns the number of transactions since the last call, and of those with data.
func (s *spy) count() (all, data int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, paths := range s.reads {
		for _, path := range paths {
			if strings.HasSuffix(path, "/data") {
				data++
				break
			}
		}
	}
	all, s.reads = len(s.reads), nil
	return all, data
}

// world is a feed over a spy, and what it told.
type world struct {
	*testing.T
	*feed.Feed
	store *spy

	changed func(feed.Update) // may be nil

	mu   sync.Mutex
	told feed.Update
}

// within runs a test in a bubble with a feed that runs.
func within(t *testing.T, test func(w *world), options ...embedded.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, store: &spy{Store: embedded.New(options...)}}
		defer w.start(feed.Options{})()
		test(w)
	})
}

// start runs the feed until the returned function is called.
func (w *world) start(o feed.Options) (stop func()) {
	o.Store, o.Layout, o.Log = w.store, layout, slog.New(slog.DiscardHandler)
	o.Changed = func(u feed.Update) {
		if w.changed != nil {
			w.changed(u)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told.Keys, w.told.Locks = append(w.told.Keys, u.Keys...), append(w.told.Locks, u.Locks...)
	}
	w.Feed = feed.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Feed.Run(ctx) }()
	synctest.Wait()
	return func() { cancel(); <-done }
}

// news is what the feed told since the last call.
func (w *world) news() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.told.Keys)
	text := fmt.Sprint(w.told.Keys, w.told.Locks)
	w.told = feed.Update{}
	return text
}

func (w *world) commit(ops ...kv.Op) {
	w.Helper()
	if _, err := w.store.Commit(context.Background(), ops); err != nil {
		w.Fatal(err)
	}
}

func put(path, value string) kv.Op { return kv.Op{Verb: kv.Set, Path: path, Value: []byte(value)} }

// publish writes a version as `in` does.
func (w *world) publish(k kv.Key, text string, version uint64) {
	w.Helper()
	w.commit(published(w, k, text, version)...)
}

func published(t testing.TB, k kv.Key, text string, version uint64) []kv.Op {
	m, err := kv.Manifest{Format: kv.ManifestFormat, Lineage: "0123456789abcdef0123456789abcdef", Version: version,
		PublishID: kv.NewID(), Key: k, SHA256: record.Checksum([]byte(text)), Size: int64(len(text)), Lines: 1, Encoding: "plain",
		PublishedAt: time.Now(), By: "test"}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return []kv.Op{put(layout.Data(k), text), put(layout.Checksum(k), record.Checksum([]byte(text))), put(layout.Manifest(k), string(m))}
}

// holds compares the latest snapshot of a key with bytes.
func (w *world) holds(k kv.Key, text string) *feed.Snapshot {
	w.Helper()
	synctest.Wait()
	s := w.Latest(k)
	switch {
	case s == nil || s.Err != nil:
		w.Fatalf("%s has the snapshot %+v", k, s)
	case text == "" && (s.Live.State != record.Absent || s.Live.SHA256 != ""):
		w.Fatalf("%s is %s, want absent", k, s.Live.State)
	case text != "" && (s.Live.SHA256 != record.Checksum([]byte(text)) || string(s.Rows[layout.Data(k)].Value) != text):
		w.Fatalf("%s is %s with the bytes %.40q, want %.40q", k, s.Live.State, s.Rows[layout.Data(k)].Value, text)
	case s.Live.Plain != nil:
		w.Fatal("the snapshot has the plain bytes, too")
	}
	return s
}

// confirm returns a confirmed snapshot.
func (w *world) confirm(k kv.Key, data bool) *feed.Snapshot {
	w.Helper()
	s, err := w.Confirm(context.Background(), k, kv.Consistent, data)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// pass lets time pass in the bubble.
func pass(d time.Duration) { <-time.After(d) }

func denied(s *feed.Snapshot) bool { return s != nil && errors.Is(s.Err, kv.ErrDenied) }
