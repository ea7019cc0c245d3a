package hub

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/fleet"
	"kvexpress/internal/httpd"
	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// Drain times: a hub that ends gives its agents leastDrain, and more if they are many, so that the other hubs get at most
// movesPerSecond of them.
const (
	leastDrain, mostDrain = 2 * time.Second, 20 * time.Second
	movesPerSecond        = 1500
)

// largeAtOnce is how many large messages of agents are in memory at a time, each of up to wire.MaxFromAgent and its decoded form.
const largeAtOnce = 16

// notesEvery limits how often the log says why agents were refused.
const notesEvery = time.Second

// agents is the part that serves agents.
type agents struct {
	*fanout.Fanout
	feed    *feed.Feed
	table   *receipts.Table
	rolls   *rollouts.Rollouts
	layout  kv.Layout
	rights  kv.Permissions
	seen    seen
	peers   []wire.Client
	ctx     context.Context // of all sessions
	end     context.CancelFunc
	large   wire.Large
	secure  bool // agents come with TLS
	log     *slog.Logger
	logged  atomic.Int64 // Unix time of the last note
	skipped atomic.Int64
}

// newAgents makes the part. Its sessions end after they were drained.
func (h *Hub) newAgents() *agents {
	o := h.o.Metrics
	a := &agents{log: h.o.Log, secure: h.o.Files.Cert != "", layout: o.Layout, peers: h.o.Peers,
		large: make(wire.Large, largeAtOnce)}
	a.rights = o.Store
	if !h.o.embedded() && !h.o.AnyAgent && h.o.Files.ClientCA == "" && !local(h.l.Addr()) {
		a.rights = &guarded{Permissions: a.rights}
	}
	a.ctx, a.end = context.WithCancel(context.Background())
	a.rolls = rollouts.New(rollouts.Options{Store: o.Store, Layout: o.Layout, Hub: h.o.Host, Gates: h.o.Gates,
		Peers: RolloutPeers(h.o.Peers), Notify: h.o.Notify, Keep: !h.o.embedded(), Log: h.o.Log})
	a.feed = feed.New(feed.Options{Store: o.Store, Layout: o.Layout, Log: h.o.Log, Changed: a.changed, Rollouts: a.rolls.Rows})
	a.table = receipts.New(receipts.Options{Store: o.Store, Layout: o.Layout, Hub: h.o.Host, Log: h.o.Log})
	datacenter := h.o.Datacenter
	if h.o.embedded() {
		datacenter = cmp.Or(datacenter, consulapi.Datacenter)
	}
	a.Fanout = fanout.New(fanout.Options{Feed: a.feed, Layout: o.Layout, Rights: a.rights, Receipts: a.table,
		Rollouts: a.rolls, Name: h.o.Host, Version: o.Version, Datacenter: datacenter, MaxAgents: maxConns(), Log: h.o.Log,
		ByCertificate: h.o.NodeFrom == NodeFromCertificate})
	a.rolls.Attach(a.feed, a.Fanout)
	return a
}

// run works until ctx ends and the agents have moved to other hubs.
func (a *agents) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, work := range []func(context.Context){a.feed.Run, a.Run, a.table.Sync, a.table.Persist, a.rolls.Run} {
		all.Go(func() { work(a.ctx) })
	}
	for _, peer := range a.peers {
		all.Go(func() { a.follow(a.ctx, peer) })
	}
	<-ctx.Done()
	a.drain(context.WithoutCancel(ctx))
	all.Wait()
}

// changed passes an update of the feed on, and notes when versions were seen.
func (a *agents) changed(u feed.Update) {
	for _, k := range u.Keys {
		if s := a.feed.Latest(k); s != nil {
			a.seen.note(k, s.Live.SHA256, s.Began)
		}
	}
	a.rolls.Changed(u)
	a.Changed(u)
}

// accept serves one agent.
func (a *agents) accept(w http.ResponseWriter, r *http.Request) {
	if !a.private(r) {
		httpd.Text(w, http.StatusForbidden, "agents of other machines need TLS; give the hub --tls-cert and --tls-key")
		return
	}
	conn, err := wire.Accept(w, r, a.large)
	if err != nil {
		a.note("this client is no agent", r.RemoteAddr, err)
		return
	}
	from := r.RemoteAddr
	go func() { // the goroutine of the request has a stack of 16 KiB
		err := a.Serve(a.ctx, conn) // a session outlives its request
		if refused := (*fanout.Refusal)(nil); errors.As(err, &refused) {
			a.note("agent refused", from, err)
		}
	}()
}

// private reports whether a request came over TLS or from this machine.
func (a *agents) private(r *http.Request) bool {
	return a.secure || fromHere(r)
}

// Page implements fleet.Hub.
func (a *agents) Page(ctx context.Context, since uint64, wait time.Duration) (fleet.Page, error) {
	return a.pageOf(ctx, since, wait, false)
}

func (a *agents) pageOf(ctx context.Context, since uint64, wait time.Duration, own bool) (fleet.Page, error) {
	p, err := a.table.Page(ctx, since, wait, own)
	p.Seen = a.seen.all()
	return p, err
}

// own counts what the hub itself does.
func (a *agents) own() Own {
	return Own{a.Counts(), a.feed.Status(), a.table.Counts(), a.rolls.Counts()}
}

// note logs a refusal, at most one a second: any client can make many.
func (a *agents) note(what, from string, err error) {
	now, last := time.Now().UnixNano(), a.logged.Load()
	if now-last < int64(notesEvery) || !a.logged.CompareAndSwap(last, now) {
		a.skipped.Add(1)
		return
	}
	args := []any{"from", from, "error", oneLine(err)}
	if n := a.skipped.Swap(0); n > 0 {
		args = append(args, "not_logged", n) // refusals since the last line
	}
	a.log.Warn(what, args...)
}

// drain moves the agents, and then the rollouts, to other hubs.
func (a *agents) drain(ctx context.Context) {
	n := a.Counts().Agents
	if n > 0 {
		within := min(max(leastDrain, time.Duration(n)*time.Second/movesPerSecond), mostDrain)
		a.log.Info("moving agents to other hubs", "agents", n, "within", within)
		a.Drain(ctx, within)
	}
	a.rolls.Leave(ctx)
	a.end()
}

// local reports whether only this machine can connect.
func local(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// guarded serves no agent of another machine while the store has no ACLs.
type guarded struct {
	kv.Permissions
	on atomic.Bool // the store has ACLs
}

// Denied implements kv.Permissions.
func (g *guarded) Denied(ctx context.Context, token string, reads, writes []string) ([]string, error) {
	if !g.on.Load() {
		switch on, err := kv.ACLs(ctx, g.Permissions); {
		case err != nil:
			return nil, err
		case !on:
			return nil, &fanout.Refusal{Reason: wire.Invalid, Says: "the store has no ACLs, so any agent could read all keys; give " +
				"the hub --tls-client-ca, or --any-agent to allow it"}
		}
		g.on.Store(true)
	}
	return g.Permissions.Denied(ctx, token, reads, writes)
}
