package publish

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"kvexpress/internal/e2e"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
)

// Fifty publishers of fifty contents at once, on real Consul: each content gets a
// version of its own, without a gap, and the last one is what nodes get.
func TestFiftyPublishersAtOnce(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	for round := range e2e.Times(10) {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			race(t, s.On(t), m, kv.Key(fmt.Sprintf("small-%d", round)), 2_000, 1, 50)
			// The history of large ones goes ahead of them, in a transaction of its
			// own. With a new key, one that lost leaves an entry that others take for
			// a past version, and go on from: so version 1 is there.
			key := kv.Key(fmt.Sprintf("large-%d", round))
			m.Ok("in", "-k", string(key), "-f", m.File("source", e2e.Text("first", 20)))
			race(t, s.On(t), m, key, kv.MaxStored, 2, 10+e2e.Times(40))
		})
	}
}

func race(t *testing.T, s *e2e.Store, m *e2e.Machine, key kv.Key, size int, first uint64, crowd int) {
	content := func(i int) string { return e2e.Noise(size, uint64(i)) }
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
		contents[r.Version] = e2e.Sum(content(i))
	}
	for v := first; v <= last; v++ {
		if contents[v] == "" {
			t.Errorf("version %d was given to nobody", v)
		}
	}
	dir := "kvexpress/" + string(key) + "/"
	if now := s.Manifest(dir + "manifest"); now.Version != last || now.SHA256 != contents[last] {
		t.Errorf("version %d with %s stands, want %d with %s", now.Version, now.SHA256, last, contents[last])
	}
	for v := last - 9; v <= last; v++ {
		past := s.Manifest(fmt.Sprintf("kvexpress/.history/%s/%d/manifest", key, v))
		if past.Version != v || past.SHA256 != contents[v] {
			t.Errorf("the history of version %d has version %d with %s, want %s", v, past.Version, past.SHA256, contents[v])
		}
	}
	if got := s.Keys("kvexpress/.history/" + string(key) + "/"); len(got) != 20 {
		t.Errorf("history has %d rows, want those of 10 versions", len(got))
	}
	m.Ok("out", "-k", string(key), "-f", m.Path(string(key)))
	if got := e2e.Sum(m.Read(string(key))); got != contents[last] {
		t.Errorf("a node gets %s, want %s", got, contents[last])
	}
}

// publishUntilDone publishes from a client of its own. One that lost ten times is
// run again, as its user would.
func publishUntilDone(t *testing.T, s *e2e.Store, key kv.Key, content string) publish.Result {
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Error(err)
		return publish.Result{}
	}
	client, err := consul.New(consul.Options{Addr: s.Server.Addr})
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
	s, _ := e2e.Start(t)
	var ready, wg sync.WaitGroup
	given := make([]string, 50)
	ready.Add(len(given))
	for i := range given {
		wg.Go(func() {
			was := 0
			if r := s.Get("naive"); r != nil {
				_, _ = fmt.Sscan(string(r.Value), &was)
			}
			ready.Done()
			ready.Wait() // all have read
			given[i] = fmt.Sprint(was + 1)
			s.Put("naive", given[i], 0)
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
