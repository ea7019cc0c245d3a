package e2e

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
)

// Fifty publishers of fifty contents at once, on real Consul: each content gets a
// version of its own, without a gap, and the last one is what nodes get.
func TestFiftyPublishersAtOnce(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	for round := range times(10) {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			race(t, s.on(t), m, kv.Key(fmt.Sprintf("small-%d", round)), 2_000, 1, 50)
			// The history of large ones goes ahead of them, in a transaction of its
			// own. With a new key, one that lost leaves an entry that others take for
			// a past version, and go on from: so version 1 is there.
			key := kv.Key(fmt.Sprintf("large-%d", round))
			m.ok("in", "-k", string(key), "-f", m.file("source", text("first", 20)))
			race(t, s.on(t), m, key, kv.MaxStored, 2, 10+times(40))
		})
	}
}

func race(t *testing.T, s *store, m *machine, key kv.Key, size int, first uint64, crowd int) {
	content := func(i int) string { return noise(size, uint64(i)) }
	results := make([]publish.Result, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() { results[i] = publishUntilDone(t, s, key, content(i)) })
	}
	wg.Wait()

	last := first + uint64(crowd) - 1
	contents := map[uint64]string{}
	for i, r := range results {
		if r.Outcome != publish.Published {
			t.Errorf("publisher %d: %q", i, r.Outcome)
		}
		if contents[r.Version] != "" {
			t.Errorf("version %d was given twice", r.Version)
		}
		contents[r.Version] = sum(content(i))
	}
	for v := first; v <= last; v++ {
		if contents[v] == "" {
			t.Errorf("version %d was given to nobody", v)
		}
	}
	dir := "kvexpress/" + string(key) + "/"
	if now := s.manifest(dir + "manifest"); now.Version != last || now.SHA256 != contents[last] {
		t.Errorf("version %d with %s stands, want %d with %s", now.Version, now.SHA256, last, contents[last])
	}
	for v := last - 9; v <= last; v++ {
		past := s.manifest(fmt.Sprintf("kvexpress/.history/%s/%d/manifest", key, v))
		if past.Version != v || past.SHA256 != contents[v] {
			t.Errorf("the history of version %d has version %d with %s, want %s", v, past.Version, past.SHA256, contents[v])
		}
	}
	if got := s.keys("kvexpress/.history/" + string(key) + "/"); len(got) != 20 {
		t.Errorf("history has %d rows, want those of 10 versions", len(got))
	}
	m.ok("out", "-k", string(key), "-f", m.path(string(key)))
	if got := sum(m.read(string(key))); got != contents[last] {
		t.Errorf("a node gets %s, want %s", got, contents[last])
	}
}

// publishUntilDone publishes from a client of its own. One that lost ten times is
// run again, as its user would.
func publishUntilDone(t *testing.T, s *store, key kv.Key, content string) publish.Result {
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Error(err)
		return publish.Result{}
	}
	client, err := consul.New(consul.Options{Addr: s.server.Addr})
	if err != nil {
		t.Error(err)
		return publish.Result{}
	}
	p := publish.Publisher{Store: client, Layout: layout, By: "test@e2e"}
	for {
		r, err := p.Publish(t.Context(), publish.Request{Key: key, Content: []byte(content)})
		if errors.Is(err, kv.ErrConflict) {
			continue
		}
		if err != nil {
			t.Error(err)
		}
		return r
	}
}

// The control: fifty naive publishers, who read a version and write the next
// without a check, give versions twice.
func TestNaivePublishersCollide(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	var ready, wg sync.WaitGroup
	given := make([]string, 50)
	ready.Add(len(given))
	for i := range given {
		wg.Go(func() {
			was := 0
			if r := s.get("naive"); r != nil {
				_, _ = fmt.Sscan(string(r.Value), &was)
			}
			ready.Done()
			ready.Wait() // all have read
			given[i] = fmt.Sprint(was + 1)
			s.put("naive", given[i], 0)
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, v := range given {
		seen[v] = true
	}
	if len(seen) == len(given) {
		t.Error("no version was given twice: the race is none")
	}
}
