//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kvexpress/internal/history"
	"kvexpress/internal/kv"
	"kvexpress/internal/lab/order"
	"kvexpress/internal/store/consul"
)

// Published is one version of the hosts file, as the store has it.
type Published struct {
	order.Version
	SHA256 string
	// Seen is when the lab got it from the store, which is after the nodes could. Zero: it
	// was there no more, and was read from history.
	Seen    time.Time
	By      string
	Message string
}

// Recorder notes every version that is published, from the first one on.
type Recorder struct {
	lab    *Lab
	stores map[*Server]*consul.Store
	layout kv.Layout

	mu       sync.Mutex
	versions []Published
	news     chan struct{} // closed with the next version
	err      error
}

// Record looks on until ctx ends; then it must be waited for.
func (l *Lab) Record(ctx context.Context, wg *sync.WaitGroup) (*Recorder, error) {
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		return nil, err
	}
	r := &Recorder{lab: l, stores: map[*Server]*consul.Store{}, layout: layout, news: make(chan struct{})}
	for _, s := range l.Servers {
		store, err := consul.New(consul.Options{Addr: s.Addr, Token: l.secrets.roles[Observer], Lasting: true, Bare: true})
		if err != nil {
			return nil, err
		}
		r.stores[s] = store
	}
	wg.Go(func() { r.follow(ctx) })
	return r, nil
}

// follow asks the leader, who is the first to know that a version is published; or, while
// there is none, one server after the other, since they are killed now and then.
func (r *Recorder) follow(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		server, err := r.lab.leaderNow(ctx)
		if err != nil {
			server = r.lab.Servers[i%len(r.lab.Servers)]
		}
		store := r.stores[server]
		for since := uint64(0); ctx.Err() == nil; {
			entry, err := store.Watch(ctx, r.layout.Data(Key), since, kv.MaxWait)
			seen := time.Now()
			if err == nil && entry.Index != since {
				since = entry.Index
				if entry.State == kv.Present {
					err = r.take(ctx, store, seen)
				}
			}
			if err != nil {
				r.mu.Lock()
				r.err = err
				r.mu.Unlock()
				_ = pause(ctx, 100*time.Millisecond) // ctx is looked at above
				break
			}
		}
	}
}

// take notes what is published now, and what was since the last one. History is looked at
// only for those: to read it all takes the leader's time while the nodes need it.
func (r *Recorder) take(ctx context.Context, store *consul.Store, seen time.Time) error {
	past := history.Reader{Store: store, Layout: r.layout}
	all, err := past.Read(ctx, Key, 0)
	if err != nil {
		return err
	}
	if known, now := r.last(), all[0].Number; known > 0 && now > known+1 {
		var missed []uint64
		for n := known + 1; n < now; n++ {
			missed = append(missed, n)
		}
		before, err := past.Read(ctx, Key, missed...)
		if err != nil {
			return err
		}
		all = append(before, all...)
	}
	for _, c := range all {
		if c.Number <= r.last() {
			continue
		}
		if c.Manifest == nil {
			return fmt.Errorf("after version %d the store has one without a manifest (%s)", r.last(), c.State)
		}
		hosts, err := order.Parse(c.Plain)
		if err != nil {
			return fmt.Errorf("version %d: %w", c.Number, err)
		}
		p := Published{
			Version: order.Version{Number: c.Number, Published: c.Manifest.PublishedAt, Hosts: hosts},
			SHA256:  c.SHA256, By: c.Manifest.By, Message: c.Manifest.Message,
		}
		if c.Live {
			p.Seen = seen
		}
		r.note(p)
	}
	return nil
}

func (r *Recorder) note(p Published) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.versions = append(r.versions, p)
	close(r.news)
	r.news = make(chan struct{})
}

func (r *Recorder) last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.versions) == 0 {
		return 0
	}
	return r.versions[len(r.versions)-1].Number
}

// Versions are those that were published so far, in their order.
func (r *Recorder) Versions() []Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Published(nil), r.versions...)
}

// Wait returns the first version above the given number of which ok is true.
func (r *Recorder) Wait(ctx context.Context, above uint64, ok func(Published) bool) (Published, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		r.mu.Lock()
		versions, news, last := r.versions, r.news, r.err
		r.mu.Unlock()
		for _, v := range versions {
			if v.Number > above && ok(v) {
				return v, nil
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Published{}, context.Cause(ctx)
		case <-limit.C:
			return Published{}, errors.Join(fmt.Errorf("waited in vain for a version above %d", above), last)
		}
	}
}

// Orders are the versions without what order.Check has no use for.
func Orders(versions []Published) []order.Version {
	all := make([]order.Version, len(versions))
	for i, v := range versions {
		all[i] = v.Version
	}
	return all
}
