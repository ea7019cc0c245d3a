package rollouts

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// together is how long reports of nodes are gathered before a View is answered.
const together = 100 * time.Millisecond

// View is the rollout of a key. If since is the index of the last answer, it waits for a change. outputs: the caller may see
// what commands printed.
func (r *Rollouts) View(ctx context.Context, k kv.Key, since uint64, most time.Duration, outputs bool) (rollout.View, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		r.mu.Lock()
		t := r.tracks[k]
		if t == nil || !t.running {
			r.mu.Unlock()
			return r.past(context.WithoutCancel(ctx), k, outputs)
		}
		if t.row != nil && t.view != since || ctx.Err() != nil {
			v := t.shown(outputs)
			r.mu.Unlock()
			return v, nil
		}
		changed, turned := t.changed, t.turned
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		select {
		case <-turned:
		case <-ctx.Done():
		case <-time.After(together):
		}
	}
}

// shown is the view of a track; mu is held.
func (t *track) shown(outputs bool) rollout.View {
	v := rollout.View{}
	if t.row != nil {
		v = rollout.ViewFrom(*t.row, t.memory, t.world)
		v.Controls = t.row.Controller == t.r.me
	}
	v.Index, v.Hub = t.view, t.r.o.Hub
	for i := range v.Failed {
		if n := t.nodes[v.Failed[i].Node]; outputs && n != nil {
			v.Failed[i].Output = n.output
		}
	}
	return v
}

// show notes a change that a View shows; mu is held.
func (t *track) show() {
	t.view++
	close(t.changed)
	t.changed = make(chan struct{})
}

// turn notes a change of the row, which a View shows at once; mu is held.
func (t *track) turn() {
	t.show()
	close(t.turned)
	t.turned = make(chan struct{})
}

// past is a rollout that is over, or none.
func (r *Rollouts) past(ctx context.Context, k kv.Key, outputs bool) (rollout.View, error) {
	path := r.o.Layout.Rollout(k)
	rows, err := r.o.Store.Read(ctx, kv.Default, path)
	if err != nil {
		return rollout.View{}, err
	}
	row, err := rollout.ParseRow(k, rows[path])
	if err != nil {
		return rollout.View{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tracks[k]; t != nil && row != nil && t.of == row.ID {
		t.row = row
		return t.shown(outputs), nil
	}
	v := rollout.ViewOf(k, row)
	v.Hub = r.o.Hub
	return v, nil
}

// Preview is what a rollout of a key would be now. The right of the caller is checked by the caller of Preview.
func (r *Rollouts) Preview(ctx context.Context, k kv.Key) (rollout.Preview, error) {
	path, stop := r.o.Layout.Policy(k), r.o.Layout.Stop(k)
	rows, err := r.o.Store.Read(ctx, kv.Default, path, stop, r.o.Layout.LocksDir())
	if err != nil {
		return rollout.Preview{}, err
	}
	policy, err := rollout.Parse(k, rows[path])
	if err != nil {
		return rollout.Preview{}, err
	}
	p := policy.Preview(r.everyone(ctx, k, rows), func(gate string) bool { _, ok := r.o.Gates[gate]; return ok })
	p.Hub = r.o.Hub
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.may {
		p.Problems = append(p.Problems, "the token of the hub "+r.o.Hub+" may not run rollouts; "+
			"`kvexpress acl hub --rollouts` prints the policy that it needs")
	}
	return p, nil
}

// everyone are the nodes of a key at all hubs that answer, by name.
func (r *Rollouts) everyone(ctx context.Context, k kv.Key, locks kv.Snapshot) []rollout.Node {
	ctx, cancel := context.WithTimeout(ctx, peerLimit)
	defer cancel()
	answers := make([][]peerNode, len(r.o.Peers)+1)
	var asked sync.WaitGroup
	for i, client := range r.o.Peers {
		asked.Go(func() {
			a, err := post(ctx, client, question{Key: k})
			if err != nil {
				r.o.Log.Warn("cannot ask the peer about a rollout; its nodes do not count", "key", k, "peer", client.Addr, "error", err)
			}
			answers[i] = a.Nodes
		})
	}
	answers[len(r.o.Peers)] = r.members(k) // this hub's last: they replace those of a hub that a node has left
	asked.Wait()
	nodes := map[string]rollout.Node{}
	for _, n := range slices.Concat(answers...) {
		known := node{Member: n.member(), here: true}
		nodes[n.Node] = known.seen(locks)
	}
	all := slices.Collect(maps.Values(nodes))
	slices.SortFunc(all, func(a, b rollout.Node) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// members are the nodes of this hub.
func (r *Rollouts) members(k kv.Key) (all []peerNode) {
	for _, m := range r.fanout.Members(k) {
		n := node{Member: m, here: true}
		all = append(all, n.tell())
	}
	return all
}
