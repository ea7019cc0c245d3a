package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
	"kvexpress/test/e2e"
)

// Eight publishers hammer a key while it is rolled back, listed and shown: every
// version that was acknowledged is in place, in order, without a gap, and each
// rollback has the bytes of the version that it names.
func TestRollbackBesidePublishers(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	// the history of large ones has a transaction of its own
	for name, size := range map[string]int{"small": 2_000, "large": 300_000} {
		t.Run(name, func(t *testing.T) {
			key := kv.Key(name)
			m := &e2e.Machine{T: t, Dir: m.Dir, Env: m.Env}
			l := newLedger(t, s.On(t), key)
			for i := range 3 {
				content := e2e.Noise(size, uint64(1_000_000+i))
				m.Ok("in", "-k", name, "-f", m.File(name, content))
				l.acknowledge(uint64(i+1), e2e.Sum(content), "in")
			}
			rollBackInACrowd(t, l, m, size)
			l.check(t)
		})
	}
}

func rollBackInACrowd(t *testing.T, l *ledger, m *e2e.Machine, size int) {
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var serial atomic.Uint64
	for range 8 {
		p := newPublisher(t, l.s)
		wg.Go(func() {
			for ctx.Err() == nil && l.publish(p, e2e.Noise(size, serial.Add(1))) {
			}
		})
	}
	wg.Go(func() { l.watch(ctx) })
	wg.Go(func() { lookOn(ctx, t, m, string(l.key)) })

	var work sync.WaitGroup
	done, refused := map[string]int{}, map[int]int{}
	var mu sync.Mutex
	count := func(how string, code int) int {
		mu.Lock()
		defer mu.Unlock()
		if code == 0 {
			done[how]++
		} else {
			refused[code]++
		}
		return done[how]
	}
	overtaken := func() int {
		mu.Lock()
		defer mu.Unlock()
		return refused[10]
	}
	want := e2e.Times(30)
	work.Go(func() { // to the version that was live a moment ago
		for range 400 {
			to := max(l.last(), 2) - 1
			if code := rollBack(t, l, m, "--to", fmt.Sprint(to)); count("--to", code) >= want {
				return
			}
		}
	})
	work.Go(func() { // to the one before, unless somebody is quicker
		tries := e2e.Times(200)
		for n := range 20 * tries { // until somebody was quicker at least once
			if count("default", rollBack(t, l, m)); n >= tries && overtaken() > 0 {
				return
			}
		}
	})
	work.Wait()
	stop()
	wg.Wait()
	for range 3 { // and now in peace
		count("default", rollBack(t, l, m))
	}
	t.Logf("%s: %d versions; rolled back: %v; refused, by exit code: %v", l.key, l.last(), done, refused)
	if len(l.order) < 10 {
		t.Errorf("seen were, in order: %v", l.order)
	}
	if done["--to"] < want || done["default"] < 3 || refused[10] == 0 {
		t.Errorf("rolled back: %v; refused, by exit code: %v: no publisher was in the way, or no rollback succeeded", done, refused)
	}
}

func newPublisher(t *testing.T, s *e2e.Store) publish.Publisher {
	t.Helper()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	client, err := consul.New(consul.Options{Addr: s.Server.Addr})
	if err != nil {
		t.Fatal(err)
	}
	return publish.Publisher{Store: client, Layout: layout, By: "test@e2e"}
}

// publish publishes content, and reports whether that went well. If it lost ten
// times, it tries again, as a user would. It is not cut off in the middle: then its outcome would be
// unknown.
func (l *ledger) publish(p publish.Publisher, content string) bool {
	for {
		r, err := p.Publish(context.Background(), publish.Request{Key: l.key, Content: []byte(content)})
		switch {
		case errors.Is(err, kv.ErrConflict):
		case err != nil || r.Action != publish.Published:
			l.t.Errorf("publish: %q %v", r.Action, err)
			return false
		default:
			l.acknowledge(r.Version, e2e.Sum(content), "a publisher")
			return true
		}
	}
}

// rollBack runs one rollback, and returns its exit code. Only refusals that leave all
// as it is are allowed.
func rollBack(t *testing.T, l *ledger, m *e2e.Machine, to ...string) int {
	r := m.Run(append([]string{"rollback", "-k", string(l.key), "--json"}, to...)...)
	var told struct {
		Action            string
		Version, From, To uint64
		SHA256            string
		Error             string
	}
	if err := json.Unmarshal([]byte(r.Stdout), &told); err != nil {
		t.Errorf("rollback: %v: %s%s", err, r.Stdout, r.Stderr)
		return r.Code
	}
	switch {
	case r.Code == 10, r.Code == 5 && strings.Contains(told.Error, "no longer kept"):
	case r.Code != 0:
		t.Errorf("rollback %v: exit %d: %s", to, r.Code, told.Error)
	case told.Action == "published":
		l.acknowledge(told.Version, told.SHA256, fmt.Sprintf("a rollback to %d", told.To))
		l.follows(told.Version, told.From, told.To, len(to) == 0)
	}
	return r.Code
}

// lookOn lists and shows versions meanwhile: no version is reported as damaged, and each has its own content.
func lookOn(ctx context.Context, t *testing.T, m *e2e.Machine, key string) {
	for ctx.Err() == nil {
		r := m.Run("history", "-k", key, "--json")
		var told struct {
			Version  uint64
			Versions []struct {
				Version       uint64
				Live          bool
				State, SHA256 string
				Detail        string
			}
		}
		if err := json.Unmarshal([]byte(r.Stdout), &told); err != nil || r.Code != 0 || len(told.Versions) == 0 {
			t.Errorf("history: exit %d: %v: %s", r.Code, err, r.Stderr)
			return
		}
		for i, v := range told.Versions {
			if v.State != "managed" || v.Detail != "" || v.Live != (v.Version == told.Version) || v.Version > told.Version {
				t.Errorf("history shows %+v, with version %d live", v, told.Version)
			}
			if i > 0 && v.Version >= told.Versions[i-1].Version {
				t.Errorf("history shows version %d after %d", v.Version, told.Versions[i-1].Version)
			}
		}
		v := told.Versions[len(told.Versions)/2]
		show := m.Run("show", "-k", key, "--version", fmt.Sprint(v.Version))
		switch {
		case show.Code == 5 && strings.Contains(show.Stderr, "no longer kept"):
		case show.Code != 0 || e2e.Sum(show.Stdout) != v.SHA256:
			t.Errorf("show version %d: exit %d: %s", v.Version, show.Code, show.Stderr)
		}
	}
}

// ledger has the versions that were acknowledged, and those that were seen.
type ledger struct {
	t   *testing.T
	s   *e2e.Store
	key kv.Key

	mu    sync.Mutex
	sums  map[uint64]string // by version: the acknowledged SHA-256
	by    map[uint64]string
	names map[uint64]uint64 // a rollback's version, and the one it goes back to
	seen  map[uint64]string // by version: the live SHA-256 that was seen
	order []uint64

	pinned map[uint64]bool // rollbacks
}

func newLedger(t *testing.T, s *e2e.Store, key kv.Key) *ledger {
	return &ledger{t: t, s: s, key: key, sums: map[uint64]string{}, by: map[uint64]string{}, names: map[uint64]uint64{},
		seen: map[uint64]string{}, pinned: map[uint64]bool{}}
}

func (l *ledger) acknowledge(version uint64, sum, who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.by[version]; other != "" {
		l.t.Errorf("version %d was given to %s and to %s", version, other, who)
	}
	l.sums[version], l.by[version] = sum, who
}

// follows records a rollback. A pinned one undoes only the version that it read.
func (l *ledger) follows(version, from, to uint64, pinned bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[version] = to
	if from != version-1 {
		l.t.Errorf("version %d says that it follows version %d", version, from)
	}
	l.pinned[version] = pinned
}

// last is the newest version that was acknowledged.
func (l *ledger) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Max(slices.Collect(maps.Keys(l.sums)))
}

// watch records the live version again and again.
func (l *ledger) watch(ctx context.Context) {
	path := "/v1/kv/kvexpress/" + string(l.key) + "/manifest?raw"
	for ctx.Err() == nil {
		status, b, err := l.s.Server.Request(http.MethodGet, path, l.s.Token, nil)
		var m e2e.Manifest
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil || status != http.StatusOK {
			l.t.Errorf("the manifest: %d %v", status, err)
			return
		}
		l.mu.Lock()
		l.seen[m.Version] = m.SHA256
		if n := len(l.order); n == 0 || l.order[n-1] != m.Version {
			l.order = append(l.order, m.Version)
		}
		l.mu.Unlock()
	}
}

func (l *ledger) check(t *testing.T) {
	last := l.last()
	for v := uint64(1); v <= last; v++ {
		if l.by[v] == "" {
			t.Errorf("no publisher got version %d", v)
		}
	}
	for v, to := range l.names {
		if to >= v || l.sums[to] == "" || l.sums[v] != l.sums[to] {
			t.Errorf("version %d goes back to version %d with %s, which has %s", v, to, l.sums[v], l.sums[to])
		}
		for u := to + 1; l.pinned[v] && u < v; u++ {
			if l.sums[u] != l.sums[v-1] {
				t.Errorf("version %d goes back to version %d, and undoes version %d, too", v, to, u)
			}
		}
	}
	for v, sum := range l.seen {
		if l.sums[v] != sum {
			t.Errorf("as version %d stood %s, acknowledged was %s", v, sum, l.sums[v])
		}
	}
	if !slices.IsSorted(l.order) {
		t.Errorf("seen were, in order: %v", l.order)
	}
	dir, past := "kvexpress/"+string(l.key)+"/", "kvexpress/.history/"+string(l.key)+"/"
	if now := l.s.Manifest(dir + "manifest"); now.Version != last || now.SHA256 != l.sums[last] {
		t.Errorf("version %d with %s is live, want %d with %s", now.Version, now.SHA256, last, l.sums[last])
	}
	m := e2e.NewMachine(t, l.s.Server.Addr)
	for v := last - 9; v <= last; v++ {
		if got := e2e.Sum(m.Ok("show", "-k", string(l.key), "--version", fmt.Sprint(v))); got != l.sums[v] {
			t.Errorf("version %d has %s, want %s", v, got, l.sums[v])
		}
	}
	size := 0
	keys := l.s.Keys(past)
	for _, k := range keys {
		size += len(l.s.Value(k))
	}
	keys = slices.DeleteFunc(keys, func(path string) bool { return strings.HasSuffix(path, "/pending") })
	if len(keys) != 20 || size > 4<<20 {
		t.Errorf("history has %d rows and %d bytes, want those of 10 versions, in 4 MiB", len(keys), size)
	}
}
