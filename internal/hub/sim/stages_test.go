package sim

import (
	"context"
	"encoding/json"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// Rollouts: all nodes have k0, whose policy has stages.

const (
	stagedNodes = 7
	// slowInstall is how long an install of a candidate may go on after the end of its rollout: each step may take long.
	slowInstall = 40 * time.Second
	// deaf is how long a hub may not know of a stop: a feed that is older than rollout.Silence decides nothing.
	deaf = rollout.Silence + latest
)

// staged is what the simulation knows of the rollouts of k0. The world's mu guards it.
type staged struct {
	row    rollout.Row
	rows   map[string]bool // IDs of all rollouts
	kinds  map[uint64]kind
	live   map[uint64]time.Time // versions that were current, and since when
	now    uint64
	over   map[uint64]time.Time // versions whose rollout ended otherwise, and when
	raised time.Time            // when the threshold last rose, or a stage began
	frozen time.Time            // since when the key is stopped; zero: it is not
	forced map[string]bool      // IDs of rollouts of which an operator skipped the rest, or forgave failures
}

func labelsOf(i int) map[string]string {
	if i == 1 {
		return map[string]string{"role": "canary"}
	}
	return nil
}

// beginStages sets the policy.
func (w *world) beginStages() {
	share := func(text string) (s rollout.Stage) {
		if err := s.Share.Set(text); err != nil {
			w.Fatal(err)
		}
		return s
	}
	var p rollout.Policy
	p.Stages = []rollout.Stage{{Nodes: labelsOf(1)}, share("50%"), share("100%")}
	if w.plan.IntN(2) == 0 {
		p.Stages[0] = share("10%")
	}
	for i := range p.Stages {
		p.Stages[i].Bake = rollout.Duration(time.Duration(w.plan.IntN(3)) * time.Second)
		p.Stages[i].MaxUnavailable = max(0, w.plan.IntN(5)-2)
	}
	p.Stages[2].PauseBefore = w.plan.IntN(4) == 0
	p.Timeout = rollout.Duration(20 * time.Second)
	if w.plan.IntN(3) == 0 {
		p.OnFailure = rollout.Halt
	}
	value, err := p.Marshal()
	if err != nil {
		w.Fatal(err)
	}
	w.staged = &staged{rows: map[string]bool{}, kinds: map[uint64]kind{1: good}, live: map[uint64]time.Time{1: time.Now()}, now: 1,
		over: map[uint64]time.Time{}, forced: map[string]bool{}}
	w.operate(func(ctx context.Context) error {
		_, err := w.store.Commit(ctx, []kv.Op{{Verb: kv.Set, Path: w.layout.Policy(key(0)), Value: value}})
		return err
	})
}

// actStages does one thing with rollouts.
func (w *world) actStages() {
	if w.rollsOut() && w.plan.IntN(3) > 0 { // let it go on
		w.calm()
		if pass(time.Duration(w.plan.IntN(8000)) * time.Millisecond); w.plan.IntN(2) == 0 {
			w.orders(rollout.Row.Resume)
		}
	}
	switch w.plan.IntN(10) {
	case 0, 1, 2:
		w.publish(0)
	case 3:
		w.publishLike(0, short, false)
	case 4:
		w.publishLike(0, broken, false)
	case 5:
		if w.plan.IntN(3) == 0 {
			w.publishLike(0, good, true)
		}
	case 6:
		w.orders(func(r rollout.Row) (rollout.Row, error) { return r.Pause("look") })
	case 7:
		w.orders(rollout.Row.Resume)
	case 8:
		w.orders(func(r rollout.Row) (rollout.Row, error) { return r.Promote(w.plan.IntN(4) == 0) })
	case 9:
		w.orders(func(r rollout.Row) (rollout.Row, error) { return r.Abort("wrong") })
	}
	if pass(time.Duration(w.plan.IntN(4000)) * time.Millisecond); w.plan.IntN(3) == 0 {
		w.hubs[w.plan.IntN(hubs)].toggle()
		pass(time.Duration(w.plan.IntN(4000)) * time.Millisecond)
	}
}

// rollsOut reports whether a rollout is open.
func (w *world) rollsOut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.staged != nil && w.staged.row.ID != "" && !w.staged.row.State.Ended()
}

// orders changes the row as an operator, if the rollout is in a state for it.
func (w *world) orders(do func(rollout.Row) (rollout.Row, error)) {
	w.operate(func(ctx context.Context) error {
		path := w.layout.Rollout(key(0))
		rows, err := w.store.Read(ctx, kv.Default, path)
		if err != nil || rows[path].State != kv.Present {
			return err
		}
		was, err := rollout.ParseRow(key(0), rows[path])
		if err != nil {
			return err
		}
		row, err := do(*was)
		if err != nil {
			return nil //nolint:nilerr // not in this state
		}
		w.trace.log("an operator: %s in stage %d, was %s in stage %d", row.State, row.Stage, was.State, was.Stage)
		if was.State == rollout.Halted || row.Stage != was.Stage {
			w.staged.forced[row.ID] = true
		}
		value, err := row.Marshal()
		if err != nil {
			return err
		}
		_, err = w.store.Commit(ctx, []kv.Op{{Verb: kv.CheckAndSet, Path: path, Index: rows[path].Index, Value: value}})
		return err
	})
}

// goOn lets the open rollout end, and replaces a version that an operator forced.
func (w *world) goOn() {
	if w.staged.kinds[w.staged.now] != good {
		w.publishLike(0, good, true)
	}
	w.orders(func(r rollout.Row) (rollout.Row, error) {
		if r.State == rollout.Halted {
			return r.Abort("it was enough")
		}
		return r.Promote(false)
	})
}

// current is the version that each node has in the end.
func (w *world) current(k int) uint64 {
	if w.staged == nil {
		return w.last[k]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.staged.row.State; w.staged.row.ID != "" && !s.Ended() {
		w.fail("in the end the rollout is %s: %s", s, w.staged.row.Reason)
	}
	return w.staged.now
}

// followRollout looks at the store after a write to it; mu is held.
func (w *world) followRollout() {
	s, k := w.staged, key(0)
	path := w.layout.Rollout(k)
	rows, err := w.store.Read(context.Background(), kv.Default, path, w.layout.Manifest(k))
	if err != nil {
		w.Fatal(err)
	}
	row := rollout.Row{State: rollout.Promoted}
	if rows[path].State == kv.Present {
		if err := json.Unmarshal(rows[path].Value, &row); err != nil {
			w.Fatal(err)
		}
	}
	m, err := kv.ParseManifest(rows[w.layout.Manifest(k)].Value)
	if err != nil {
		w.Fatal(err)
	}
	if m.Version != s.now {
		w.becomesCurrent(m.Version, row)
	}
	w.nextRow(row)
}

// nextRow compares a row with the one before; mu is held.
func (w *world) nextRow(row rollout.Row) {
	s, was := w.staged, w.staged.row
	switch {
	case row.ID == was.ID && row.Counter == was.Counter:
		return
	case row.ID != was.ID:
		if s.rows[row.ID] {
			w.fail("the rollout %s began twice", row.ID)
		}
		s.rows[row.ID], s.raised = true, time.Now()
		if was.ID != "" && was.State != rollout.Promoted {
			s.ends(was)
		}
		s.row = row
		w.trace.log("the rollout of version %d begins", row.Version)
		return
	case row.Counter < was.Counter, was.State.Ended(), row.Version != was.Version, row.Stage < was.Stage:
		w.fail("the row %+v follows %+v", row, was)
	case was.Threshold.After(row.Threshold):
		w.fail("the threshold fell: the row %+v follows %+v", row, was)
	case row.Threshold != was.Threshold && was.State != rollout.Running:
		w.fail("%s, and admits more: the row %+v follows %+v", was.State, row, was)
	}
	if row.Threshold != was.Threshold || row.Stage != was.Stage {
		if !s.frozen.IsZero() && time.Since(s.frozen) > deaf && !s.forced[row.ID] {
			w.fail("the key has been stopped for %s, and its rollout goes on: the row %+v follows %+v", time.Since(s.frozen), row, was)
		}
		s.raised = time.Now()
	}
	if row.State != was.State || row.Stage != was.Stage {
		w.trace.log("the rollout of version %d: %s in stage %d, %d of %d: %s", row.Version, row.State, row.Stage, row.Admitted,
			row.Counted, row.Reason)
	}
	if row.State.Ended() && row.State != rollout.Promoted {
		s.ends(row)
	}
	s.row = row
}

// ends notes that a candidate did not become current.
func (s *staged) ends(row rollout.Row) {
	if _, live := s.live[row.Version]; !live && s.over[row.Version].IsZero() {
		s.over[row.Version] = time.Now()
	}
}

// becomesCurrent checks a version that became current; mu is held.
func (w *world) becomesCurrent(number uint64, row rollout.Row) {
	s := w.staged
	w.trace.log("version %d is current", number)
	if !s.over[number].IsZero() {
		w.fail("version %d was withdrawn, and became current", number)
	}
	if number < s.now {
		w.fail("version %d became current after %d", number, s.now)
	}
	s.now, s.live[number] = number, time.Now()
	if row.Version != number || s.forced[row.ID] || row.State != rollout.Promoted {
		return
	}
	if s.kinds[number] != good {
		w.fail("version %d was promoted, and is %s", number, s.kinds[number])
	}
	bake := time.Duration(row.Plan.Stages[len(row.Plan.Stages)-1].Bake)
	for _, n := range w.nodes {
		n.mu.Lock()
		said, had := n.said[row.ID], n.had[number]
		n.mu.Unlock()
		if had && !n.locked && time.Since(n.unlocked) > latest && said.Before(s.raised.Add(bake)) {
			w.fail("version %d was promoted, and %s has said nothing since %s; the last stage began at %s, its bake is %s", number,
				n.name, said.Sub(w.trace.start), s.raised.Sub(w.trace.start), bake)
		}
	}
}

// installedInStage checks an install; the mu of both is held.
func (n *node) installedInStage(number uint64) {
	s := n.w.staged
	_, live := s.live[number]
	for other, at := range s.live {
		if other > number && n.had[other] && live && time.Since(at) > slowInstall {
			n.w.fail("%s went back from version %d to %d", n.name, other, number)
		}
	}
	if live {
		return
	}
	if at, over := s.over[number]; over {
		if time.Since(at) > slowInstall {
			n.w.fail("%s installed version %d, which was withdrawn %s ago", n.name, number, time.Since(at))
		}
		return
	}
	switch row := s.row; {
	case row.Version != number:
		n.w.fail("%s installed version %d, which is not current and no candidate", n.name, number)
	case row.Place(n.name, n.labels).After(row.Threshold):
		n.w.fail("%s installed version %d, and the rollout has not admitted it: %+v", n.name, number, row)
	}
}
