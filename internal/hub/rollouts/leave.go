package rollouts

import (
	"context"
	"time"

	"kvexpress/internal/rollout"
)

// leaveLimit limits Leave.
const leaveLimit = 2 * time.Second

// Leave gives the rollouts of this hub to the other hubs, after its agents have moved to them. Without it, they would wait for
// rollout.TakeOver. It returns when the rows are written, or after 2 s.
func (r *Rollouts) Leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	r.mu.Lock()
	r.leaves = true
	var open []*track
	for _, t := range r.tracks {
		if t.running && t.peered() {
			open = append(open, t)
			t.poke()
		}
	}
	r.mu.Unlock()
	for _, t := range open {
		t.left(ctx)
	}
}

// peered reports whether another hub can go on with the rollout now. A hub without peers keeps its rollouts: it is started again,
// and TakeOver is the time in which its agents come back. mu is held.
func (t *track) peered() bool {
	for _, p := range t.peers {
		if p.hub != "" && !p.lost {
			return true
		}
	}
	return false
}

// left waits until the rollout is another hub's, or over.
func (t *track) left(ctx context.Context) {
	for {
		t.r.mu.Lock()
		done, changed := t.row == nil || t.row.State.Ended() || t.row.Controller != t.r.me, t.changed
		t.r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// leaves reports whether this hub is the controller, and gives the rollout away.
func (t *track) leaves(row rollout.Row) bool {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	return t.r.leaves && row.Controller == t.r.me && t.peered()
}

// free names no controller in the row: the next hub claims it at once.
func (t *track) free(ctx context.Context, row rollout.Row, index uint64) error {
	row.Controller, row.Gate = "", ""
	row.Counter++
	return t.write(ctx, row, index, rollout.Orders{Row: row, Write: true})
}
