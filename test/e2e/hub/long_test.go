//go:build linux

package hub

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
	"kvexpress/test/e2e"
)

// run is a fleet of two hubs on three servers. One hub or server after the other is killed.
type run struct {
	*e2e.Site
	c      *e2e.Cluster
	random *rand.Rand
	stores []*consul.Store
	hubs   [2]*e2e.Hub
	down   [2]int // the publish at which a killed hub is started again; 0: it runs
	server int    // the one that is down; -1: all run
	until  int    // the publish at which it is started again
	kills  [2]int // of hubs, and of leaders
	starts int

	n    int              // the last number
	sums map[string]int64 // number by SHA-256
}

// TestLongRun: hubs and Consul's leader are killed at random while versions are published. Every node ends on the last version.
// None goes back, none installs what was live only under a stop or a lock, and no receipt claims more than the disk has.
func TestLongRun(t *testing.T) {
	// It takes both processors: alone.
	c := e2e.StartCluster(t)
	x := c.Site(t, 2)
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed of the kills is %d", seed)
	r := &run{Site: x, c: c, random: rand.New(rand.NewPCG(seed, 0)), server: -1, sums: map[string]int64{}}
	var stores, addrs []string
	for _, s := range c.Servers {
		client, err := consul.New(consul.Options{Addr: s.Addr, Bare: true, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		r.stores, stores = append(r.stores, client), append(stores, s.Addr)
	}
	for i := range r.hubs {
		r.hubs[i] = r.hub(i, "127.0.0.1:0")
		addrs = append(addrs, r.hubs[i].Addr)
	}
	r.publish(false)
	nodes := e2e.Times(1200)
	crowd := newCrowd(x, nodes, addrs, stores)
	e2e.Within(t, 2*time.Minute, "the first version is everywhere", func() bool { return crowd.having(1) == nodes })

	began, audited, most := time.Now(), 0, e2e.Times(1000)
	for r.n < most {
		r.disturb()
		switch r.n % 10 {
		case 3:
			r.under(r.Layout.Stop("hosts"), func(n int) { crowd.forbidden.Store(int64(n), true) })
		case 6:
			m := crowd.nodes[r.random.IntN(nodes)]
			r.under(r.Layout.Lock(x.Path(m.file), host), func(n int) { m.locked.Store(int64(n), true) })
		default:
			r.publish(false)
		}
		for wait := time.Now(); crowd.having(int64(r.n)) < nodes/2 && time.Since(wait) < 300*time.Millisecond; { // load, not a flood
			e2e.Pause(5 * time.Millisecond)
		}
		audited += crowd.audit(r.hubs[r.random.IntN(2)], r.sums)
	}
	r.mend()
	took := time.Since(began)
	last := e2e.Within(t, 3*time.Minute, "the last version is everywhere", func() bool { return crowd.having(int64(r.n)) == nodes })
	e2e.Within(t, 2*time.Minute, "a hub knows it", func() bool {
		at := crowd.audit(r.hubs[0], r.sums)
		s := r.status()
		return at == nodes && s.Nodes == nodes && s.Converged == nodes
	})
	t.Logf("%d versions to %d nodes in %v, the last %v after the end; %d hubs and %d leaders killed; %d installs, %d connections, "+
		"%d receipts compared", r.n, nodes, took.Round(time.Second), last.Round(10*time.Millisecond), r.kills[0], r.kills[1],
		crowd.installs.Load(), crowd.moves.Load(), audited)
	if r.kills[0] == 0 || r.kills[1] == 0 || audited == 0 {
		t.Error("nothing was killed, or compared")
	}
	for _, m := range crowd.nodes {
		if got := crowd.number(m); got != int64(r.n) {
			t.Errorf("%s has %d on disk, want %d", m.name, got, r.n)
		}
	}
}

// hub runs one of the hubs. Each asks another server.
func (r *run) hub(i int, listen string) *e2e.Hub {
	r.starts++
	args := []string{"--listen", listen, "-s", r.c.Servers[i].Addr, "-p", r.Prefix}
	if other := r.hubs[1-i]; other != nil {
		args = append(args, "--peers", other.Addr)
	}
	return r.Hub(fmt.Sprintf("hub-%d-%d", i, r.starts), args...)
}

// disturb kills and starts hubs and servers, as the seed says.
func (r *run) disturb() {
	for i, at := range r.down {
		chance := 12
		if r.server == 1-i { // the agents that move find a hub without its store
			chance = 3
		}
		if at > 0 && r.n >= at {
			r.hubs[i], r.down[i] = r.hub(i, r.hubs[i].Addr), 0
		} else if at == 0 && r.random.IntN(chance) == 0 {
			r.hubs[i].Kill()
			r.down[i] = r.n + 1 + r.random.IntN(4)
			r.kills[0]++
		}
	}
	if r.server >= 0 && r.n >= r.until {
		r.c.Servers[r.server].Launch()
		r.c.Servers[r.server].Ready()
		r.server = -1
	} else if r.server < 0 && r.n%25 == 20 {
		r.server = r.c.Leader(r.random.IntN(3))
		r.c.Servers[r.server].Kill()
		r.until = r.n + 3 + r.random.IntN(4)
		r.kills[1]++
	}
}

// mend starts all that is down.
func (r *run) mend() {
	for i, at := range r.down {
		if at > 0 {
			r.hubs[i], r.down[i] = r.hub(i, r.hubs[i].Addr), 0
		}
	}
	if r.server >= 0 {
		r.c.Servers[r.server].Launch()
		r.c.Servers[r.server].Ready()
	}
}

// must repeats what the store may refuse while it has no leader.
func (r *run) must(what string, try func(*consul.Store) error) {
	r.T.Helper()
	var err error
	defer func() {
		if r.T.Failed() {
			r.T.Logf("%s: %v", what, err)
		}
	}()
	e2e.Eventually(r.T, what, func() bool {
		err = try(r.stores[r.random.IntN(len(r.stores))])
		return err == nil
	})
}

// publish publishes the next number.
func (r *run) publish(stopped bool) {
	r.T.Helper()
	r.n++
	content := e2e.Version(r.n)
	r.sums[e2e.Sum(content)] = int64(r.n)
	r.must(fmt.Sprint("publish ", r.n), func(s *consul.Store) error {
		p := publish.Publisher{Store: s, Layout: r.Layout, By: "test@e2e", ResolveFor: time.Second}
		_, err := p.Publish(r.T.Context(), publish.Request{Key: "hosts", Content: []byte(content), IgnoreStop: stopped})
		return err
	})
}

// under publishes a number while there is a stop or a lock, and the next one before it ends: the first may never be installed.
func (r *run) under(row string, never func(n int)) {
	r.T.Helper()
	commit := func(op kv.Op) {
		r.must("write "+row, func(s *consul.Store) error {
			_, err := s.Commit(r.T.Context(), []kv.Op{op})
			return err
		})
	}
	commit(kv.Op{Verb: kv.Set, Path: row, Value: []byte("looking into it")})
	never(r.n + 1)
	r.publish(true)
	r.publish(true)
	commit(kv.Op{Verb: kv.Delete, Path: row})
}

// status is what the first hub says of the key.
func (r *run) status() fleet.Report {
	var s fleet.Report
	_ = json.Unmarshal([]byte(r.Run("status", "-p", r.Prefix, "-k", "hosts", "--hub", r.hubs[0].Addr, "--json").Stdout), &s)
	return s
}
