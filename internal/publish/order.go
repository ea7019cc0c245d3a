package publish

import (
	"context"
	"fmt"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// NoRollout is a key that has had no rollout.
type NoRollout struct{ Key kv.Key }

func (e *NoRollout) Error() string {
	return fmt.Sprintf("%s has had no rollout; `kvexpress policy show -k %[1]s` shows whether its policy has stages", e.Key)
}

// Order changes the row of the rollout of e.Key as an operator orders, together with the event, and returns the new row. Its
// controller follows it. change is decided on the row of the store; its text says who acts and why. Errors are those of change
// and of the store, or a *NoRollout.
func Order(ctx context.Context, r hold.Recorder, e hold.Event, change func(rollout.Row, string) (rollout.Row, error)) (
	next rollout.Row, err error,
) {
	path, why := r.Layout.Rollout(e.Key), "by "+e.Who
	if e.Reason != "" {
		why += ": " + e.Reason
	}
	_, err = r.Do(ctx, e, []string{path}, func(rows kv.Snapshot) ([]kv.Op, error) {
		row, err := rollout.ParseRow(e.Key, rows[path])
		if err != nil {
			return nil, err
		}
		if row == nil {
			return nil, &NoRollout{e.Key}
		}
		if next, err = change(*row, why); err != nil {
			return nil, err
		}
		value, err := next.Marshal()
		return []kv.Op{{Verb: kv.CheckAndSet, Path: path, Value: value, Index: rows[path].Index}}, err
	})
	return next, err
}
