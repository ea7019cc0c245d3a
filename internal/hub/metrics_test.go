package hub

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// shaky is a store that can be unreachable. It notes when receipts are read.
type shaky struct {
	Store
	down  atomic.Bool
	mu    sync.Mutex
	lists []time.Time
}

func (s *shaky) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	if strings.HasSuffix(prefix, "-nodes/") {
		s.mu.Lock()
		s.lists = append(s.lists, time.Now())
		s.mu.Unlock()
	}
	if s.down.Load() {
		return kv.Listing{}, &kv.StoreError{Op: "list " + prefix, Kind: kv.ErrUnreachable}
	}
	return s.Store.List(ctx, c, prefix, since, wait)
}

func (s *shaky) scans() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lists)
}

// scraper is a Metrics over a shaky store.
type scraper struct {
	*Metrics
	t     *testing.T
	store *shaky
}

// scraping runs a Metrics in a bubble, during a function.
func scraping(t *testing.T, every time.Duration, during func(t *testing.T, s *scraper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		layout, err := kv.NewLayout("kvexpress")
		if err != nil {
			t.Fatal(err)
		}
		s := &scraper{t: t, store: &shaky{Store: embedded.New()}}
		s.Metrics = NewMetrics(MetricsOptions{
			Store: s.store, Layout: layout, Every: every, Expiry: 24 * time.Hour, Log: slog.New(slog.DiscardHandler),
		})
		s.receipt("web-1")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		synctest.Wait()
		during(t, s)
		cancel()
		wg.Wait()
	})
}

// receipt writes a receipt, which is invalid and so counts as one without targets.
func (s *scraper) receipt(node string) {
	s.t.Helper()
	path := s.o.Layout.Node(node)
	if _, err := s.store.Commit(s.t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(time.Now().String())}}); err != nil {
		s.t.Fatal(err)
	}
}

// wants checks the metrics for lines, and, after a "!", for their absence.
func (s *scraper) wants(lines ...string) {
	s.t.Helper()
	var text bytes.Buffer
	if err := s.Write(&text, time.Now()); err != nil {
		s.t.Fatal(err)
	}
	for _, line := range lines {
		line, absent := strings.CutPrefix(line, "!")
		if strings.Contains(text.String(), "\nkvexpress_fleet_"+line) == absent {
			s.t.Errorf("%q is absent: %t\n%s", line, !absent, text.String())
		}
	}
}

// pause waits in a bubble.
func pause(d time.Duration) { <-time.After(d) }

// While the store is unreachable, the last numbers stay for five minutes.
func TestStoreUnreachable(t *testing.T) {
	scraping(t, 15*time.Second, func(t *testing.T, s *scraper) {
		s.wants("up 1\n", "receipts 1\n")
		s.store.down.Store(true)
		pause(30 * time.Second)
		s.wants("up 0\n", "receipts 1\n")
		pause(5 * time.Minute)
		s.wants("up 0\n", "!receipts ")
		if err := s.ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		if err := s.healthy(); err != nil {
			t.Error(err)
		}
		s.store.down.Store(false)
		pause(31 * time.Second)
		s.wants("up 1\n", "receipts 1\n")
	})
}

// gaps checks the time between scans.
func gaps(t *testing.T, at []time.Time, shortest, longest time.Duration) {
	t.Helper()
	for i := 1; i < len(at); i++ {
		if gap := at[i].Sub(at[i-1]); gap < shortest || gap > longest {
			t.Errorf("scan %d begins %v after the one before", i, gap)
		}
	}
}

// Retries back off to every 30 s.
func TestRetriesBackOff(t *testing.T) {
	scraping(t, 15*time.Second, func(t *testing.T, s *scraper) {
		s.store.down.Store(true)
		before := len(s.store.scans())
		pause(10 * time.Minute)
		all := s.store.scans()[before+1:]
		if n := len(all); n < 20 || n > 60 {
			t.Errorf("%d retries in ten minutes", n)
		}
		gaps(t, all, time.Second, 31*time.Second)
		if late := all[len(all)-1].Sub(all[len(all)-6]); late < 20*time.Second {
			t.Errorf("the last five retries take %v", late)
		}
	})
}

// At rest a fleet is scanned every 15 s. A fleet that reports all the time is scanned every 5 s.
func TestPace(t *testing.T) {
	scraping(t, 15*time.Second, func(t *testing.T, s *scraper) {
		pause(5 * time.Minute)
		rest := len(s.store.scans())
		if rest < 19 || rest > 25 {
			t.Errorf("%d scans in five minutes without a change", rest)
		}
		for range 600 {
			s.receipt("web-1")
			pause(100 * time.Millisecond)
		}
		if busy := len(s.store.scans()) - rest; busy < 8 || busy > 14 {
			t.Errorf("%d scans in a minute full of changes", busy)
		}
		gaps(t, s.store.scans(), 4*time.Second, 20*time.Second)
	})
}

// A change wakes the scan that waits.
func TestAChangeIsReadAtOnce(t *testing.T) {
	scraping(t, 2*time.Minute, func(_ *testing.T, s *scraper) {
		pause(time.Minute)
		s.receipt("web-2")
		synctest.Wait()
		s.wants("receipts 2\n")
	})
}

// A scan that hangs makes the process unhealthy.
func TestAScanThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics(MetricsOptions{Every: 15 * time.Second})
		pause(time.Minute)
		if err := m.healthy(); err != nil {
			t.Error(err)
		}
		pause(time.Minute)
		if err := m.healthy(); err == nil {
			t.Error("healthy, two minutes after the last scan began")
		}
	})
}
