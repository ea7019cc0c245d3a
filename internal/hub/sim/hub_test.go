package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/testutil/memnet"
	"kvexpress/internal/wait"
)

// hub is one hub, which can be killed and begun again.
type hub struct {
	w    *world
	name string
	link *link
	gate memnet.Gate // shut while the process is stopped

	mu    sync.Mutex
	up    bool
	start time.Time
	fan   *fanout.Fanout
	feed  *feed.Feed
	table *receipts.Table
	rolls *rollouts.Rollouts
	ctx   context.Context
	stop  context.CancelFunc
	pairs []*memnet.Pair
	all   sync.WaitGroup
}

func newHub(w *world, name string) *hub { return &hub{w: w, name: name, link: newLink(w, name)} }

// begin puts a hub together as the daemon does.
func (h *hub) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	log := h.w.trace.logger(h.name)
	h.up, h.start = true, time.Now()
	h.link.listen(h.start)
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.rolls = rollouts.New(rollouts.Options{Store: h.link, Layout: h.w.layout, Hub: h.name, Peers: h.peers(), Log: log})
	var fan *fanout.Fanout
	rolls := h.rolls
	h.feed = feed.New(feed.Options{Store: h.link, Layout: h.w.layout, Log: log, Rollouts: rolls.Rows, Changed: func(u feed.Update) {
		rolls.Changed(u)
		fan.Changed(u)
	}})
	h.table = receipts.New(receipts.Options{Store: h.link, Layout: h.w.layout, Hub: h.name, Log: log})
	fan = fanout.New(fanout.Options{Feed: h.feed, Layout: h.w.layout, Rights: h.link, Receipts: h.table, Rollouts: rolls, Name: h.name,
		MaxAgents: 100, Log: log})
	h.fan = fan
	rolls.Attach(h.feed, fan)
	for _, work := range []func(context.Context){h.feed.Run, fan.Run, h.table.Sync, h.table.Persist, rolls.Run} {
		h.all.Go(func() { work(h.ctx) })
	}
	for _, peer := range h.w.hubs {
		if peer != h {
			h.all.Go(func() { h.follow(h.ctx, h.table, peer) })
		}
	}
}

// peers are the other hubs, for rollouts.
func (h *hub) peers() (all []rollouts.Peer) {
	for i := range hubs {
		if name := hubName(i); name != h.name {
			all = append(all, rollouts.Peer{Addr: name, Post: func(ctx context.Context, body []byte) ([]byte, error) {
				return h.post(ctx, h.w.hubs[i], body)
			}})
		}
	}
	return all
}

func hubName(i int) string { return fmt.Sprint("hub-", i) }

// post asks another hub.
func (h *hub) post(ctx context.Context, peer *hub, body []byte) ([]byte, error) {
	for _, g := range []*memnet.Gate{&h.gate, &peer.gate} {
		if opened := g.Opened(); opened != nil {
			select {
			case <-opened:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
	if err := wait.For(ctx, h.w.upTo(20*time.Millisecond)); err != nil {
		return nil, err
	}
	peer.mu.Lock()
	theirs, up := peer.rolls, peer.up
	peer.mu.Unlock()
	if !up {
		return nil, errDown
	}
	b, err := theirs.Answer(ctx, body)
	return b, errors.Join(err, wait.For(ctx, h.w.upTo(20*time.Millisecond)))
}

// follow takes the receipts of another hub's agents.
func (h *hub) follow(ctx context.Context, table *receipts.Table, peer *hub) {
	var since uint64
	var last time.Time // of an answer
	for pause := time.Duration(0); wait.For(ctx, pause) == nil; {
		peer.mu.Lock()
		theirs, up := peer.table, peer.up
		peer.mu.Unlock()
		pause = time.Second
		if !up {
			table.Gone(peer.name, last)
			since = 0
			continue
		}
		if p, err := theirs.Page(ctx, since, 10*time.Second, true); err == nil {
			table.Take(peer.name, p)
			last, since, pause = time.Now(), p.Index, h.w.upTo(20*time.Millisecond)
		}
	}
}

// kill ends the hub at once.
func (h *hub) kill() {
	h.mu.Lock()
	h.up = false
	h.stop()
	for _, p := range h.pairs {
		p.Cut()
	}
	h.pairs = nil
	h.mu.Unlock()
	h.all.Wait()
}

var errDown = errors.New("connection refused")

// accept serves a node.
func (h *hub) accept(n *node) (*memnet.Pair, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.up {
		return nil, errDown
	}
	p := memnet.New(func() time.Duration { return h.w.upTo(n.far) })
	p.ToAgent = []*memnet.Gate{&n.gate, n.ways[h], &h.gate}
	p.ToHub = p.ToAgent
	h.pairs = append(h.pairs, p)
	ctx, fan := h.ctx, h.fan
	h.all.Go(func() { h.w.trace.log("        %s leaves %s: %v", n.name, h.name, fan.Serve(ctx, p.Hub)) })
	return p, nil
}
