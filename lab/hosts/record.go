package hosts

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/store/consul"
	"kvexpress/lab/order"
	"kvexpress/lab/proc"
)

// Published is one version of the hosts file, as the store has it.
type Published struct {
	order.Version
	SHA256, By string
}

// Recorder notes every version that is published and, after Ask, every answer of each node's DNS.
type Recorder struct {
	fleet *Fleet
	names []string // that nodes are asked for
	ctx   context.Context
	end   context.CancelFunc
	wg    sync.WaitGroup

	mu       sync.Mutex
	versions []Published
	answers  map[*Node][]order.Answer
	focus    string // a name that every other question is about; "": none
}

func newRecorder(f *Fleet) *Recorder {
	r := &Recorder{fleet: f, answers: map[*Node][]order.Answer{}}
	r.ctx, r.end = context.WithCancel(context.Background())
	for _, s := range f.Services {
		r.names = append(r.names, FQDN(s.Name))
	}
	return r
}

// follow begins to note versions, until Stop.
func (r *Recorder) follow() error {
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		return err
	}
	var stores []*consul.Store
	for _, s := range r.fleet.Servers {
		store, err := consul.New(consul.Options{Addr: s.Addr, Token: r.fleet.tokens[Observer], Lasting: true, Bare: true})
		if err != nil {
			return err
		}
		stores = append(stores, store)
	}
	r.wg.Go(func() { r.watch(layout, stores) })
	return nil
}

// Stop ends the recording.
func (r *Recorder) Stop() {
	r.end()
	r.wg.Wait()
}

// watch asks one server after the other: they may be killed.
func (r *Recorder) watch(layout kv.Layout, stores []*consul.Store) {
	for i := 0; r.ctx.Err() == nil; i++ {
		store, since := stores[i%len(stores)], uint64(0)
		for {
			entry, err := store.Watch(r.ctx, layout.Data(Key), since, kv.MaxWait)
			if err == nil && entry.State == kv.Present {
				err = r.take(record.History{Store: store, Layout: layout})
			}
			if since = entry.Index; err != nil {
				break
			}
		}
		proc.Sleep(r.ctx, 100*time.Millisecond)
	}
}

// take notes the current version, and those between it and the last one.
func (r *Recorder) take(past record.History) error {
	all, err := past.Read(r.ctx, Key, 0)
	if err != nil {
		return err
	}
	if known := r.Last().Number; known > 0 {
		var missed []uint64
		for n := known + 1; n < all[0].Number; n++ {
			missed = append(missed, n)
		}
		before, err := past.Read(r.ctx, Key, missed...)
		if err != nil {
			return err
		}
		all = append(before, all...)
	}
	for _, c := range all {
		if c.Manifest == nil {
			return fmt.Errorf("a version without a manifest (%s)", c.State)
		}
		hosts, err := order.Parse(c.Plain)
		if err != nil {
			return fmt.Errorf("version %d: %w", c.Number, err)
		}
		if c.Number <= r.Last().Number {
			continue
		}
		v := order.Version{Number: c.Number, Published: c.Manifest.PublishedAt, Hosts: hosts}
		r.mu.Lock()
		r.versions = append(r.versions, Published{v, c.SHA256, c.Manifest.By})
		r.mu.Unlock()
	}
	return nil
}

// Versions are those that were published so far, in their order.
func (r *Recorder) Versions() []Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.versions)
}

// Last is the version that was published last, as far as it was seen. Before Start has
// come back there may be none.
func (r *Recorder) Last() Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.versions) == 0 {
		return Published{}
	}
	return r.versions[len(r.versions)-1]
}
