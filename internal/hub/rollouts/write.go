package rollouts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
)

// writeLimit limits one write.
const writeLimit = 15 * time.Second

// write writes the orders of a step over the row that the step was given, and notes the new row. The error wraps kv.ErrConflict
// if another hub or person wrote first: the row is read again.
func (t *track) write(ctx context.Context, was rollout.Row, index uint64, o rollout.Orders) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	event := t.event(was, o)
	if o.Promote {
		lost, err := t.r.promote(ctx, publish.Promotion{Row: was, Index: index, Next: o.Row, Event: event})
		if lost != nil {
			t.r.recorder.Lost(lost)
		}
		if err == nil || errors.Is(err, kv.ErrConflict) {
			// The snapshot that has the new row has the new version, too: none from before may be taken for it.
			err = errors.Join(err, t.again(ctx))
		} else if refusal := (*gate.Refusal)(nil); errors.As(err, &refusal) {
			t.spoil(err) // the next step gives it up
		}
		return err
	}
	value, err := o.Row.Marshal()
	if err != nil {
		return err
	}
	path := t.r.o.Layout.Rollout(t.key)
	ops := []kv.Op{{Verb: kv.CheckAndSet, Path: path, Index: index, Value: value, Flags: uint64(time.Now().Unix())}}
	if w := o.Withdraw; w != nil {
		w.By, w.Time = t.r.o.Hub, time.Now().Unix()
		text, err := marshal(w)
		if err != nil {
			return err
		}
		ops = append(ops, kv.Op{Verb: kv.Set, Path: t.r.o.Layout.HistoryWithdrawn(t.key, was.Version), Value: text})
	}
	if event == nil {
		var written map[string]uint64
		if written, err = t.r.o.Store.Commit(ctx, ops); err == nil && written[path] > 0 {
			t.wrotes(o.Row, written[path])
			return nil
		}
	} else {
		_, err = t.r.recorder.Do(ctx, *event, []string{path}, func(rows kv.Snapshot) ([]kv.Op, error) {
			switch e := rows[path]; {
			case e.Index == index:
				return ops, nil
			case bytes.Equal(e.Value, value):
				return nil, nil // an earlier try wrote it
			}
			return nil, fmt.Errorf("the rollout of %s has changed: %w", t.key, kv.ErrConflict)
		})
	}
	if err == nil || errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrUnknownOutcome) {
		err = errors.Join(err, t.again(ctx))
	}
	return err
}

// denied is a promotion that the store denied. Until a time, it is not tried again.
type denied struct {
	rollout string
	times   int
	why     string // for people
	until   time.Duration
}

// deny notes that the store denies the promotion. It is tried again: an operator may give the token the right meanwhile.
func (t *track) deny(row rollout.Row, err error) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	d := &t.denied
	if d.rollout != row.ID {
		*d = denied{rollout: row.ID, why: fmt.Sprintf("the token of the hub %s may not write below %s; "+
			"`kvexpress acl hub --rollouts` prints the policy that it needs", t.r.o.Hub, t.r.o.Layout.Dir(t.key))}
		t.r.o.Log.Warn("the store denies that a version becomes current; the hub tries again until the rollout times out",
			"key", t.key, "version", row.Version, "remedy", d.why, "error", err)
	}
	d.until = t.r.now() + wait.Backoff{Least: time.Second, Most: 10 * time.Second}.After(d.times)
	d.times++
}

// wrotes notes a row that this hub wrote: it counts before a snapshot has it.
func (t *track) wrotes(row rollout.Row, index uint64) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.row, t.own, t.wrote = &row, parsed{index: index, row: &row}, time.Now()
	t.show()
}

// again reads the key again, after a write whose result only the store has.
func (t *track) again(ctx context.Context) error {
	_, err := t.r.feed.Confirm(ctx, t.key, kv.Default, false)
	return err
}

// event is the event that a step leaves; nil: none.
func (t *track) event(was rollout.Row, o rollout.Orders) *hold.Event {
	action := map[rollout.State]string{
		rollout.Halted: hold.ActionHalted, rollout.Promoted: hold.ActionPromoted, rollout.Reverted: hold.ActionReverted,
		rollout.Aborted: hold.ActionAborted, rollout.Superseded: hold.ActionReplaced,
	}[o.Row.State]
	if was.State == o.Row.State || action == "" {
		return nil
	}
	return &hold.Event{Time: time.Now(), Who: t.r.o.Hub, Action: action, Key: t.key, Version: was.Version, Reason: o.Row.Reason}
}

// tell logs a change of state once, and gives it to the webhook.
func (t *track) tell() {
	t.r.mu.Lock()
	row := t.row
	if row == nil || t.told == (told{row.ID, row.State}) {
		t.r.mu.Unlock()
		return
	}
	first := t.told.id != row.ID
	t.told = told{row.ID, row.State}
	mine := row.Controller == t.r.me
	if mine && (row.State.Ended() || row.State == rollout.Halted) {
		t.r.counts.count(row.State)
	}
	t.show()
	t.r.mu.Unlock()
	if first && row.State.Ended() {
		return // it was over when this hub first saw it
	}
	t.r.o.Log.Info("rollout", "key", t.key, "version", row.Version, "state", row.State,
		"stage", min(row.Stage+1, len(row.Plan.Stages)), "stages", len(row.Plan.Stages), "reason", row.Reason,
		"controller", row.Controller)
	if mine {
		t.r.notifier.add(newNotice(*row, t.r.o.Hub))
	}
}

// told is a state that was logged.
type told struct {
	id    string
	state rollout.State
}

func (c *Counts) count(state rollout.State) {
	if c.Ends == nil {
		c.Ends = map[rollout.State]uint64{}
	}
	c.Ends[state]++
}
