package hold

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
)

// Limits of a row. The oldest events make room.
const (
	// MaxEvents is how many events a row keeps.
	MaxEvents = 100
	// MaxEventRow is the largest row in bytes, so that it fits into a transaction beside others.
	MaxEventRow = 64 << 10
	// maxWho and maxFile are the most bytes of these fields; the rest is cut off.
	maxWho, maxFile = 256, 4096
)

// NodeEvents is used as the key of an action on a node if no key is known. It is not a valid key.
const NodeEvents kv.Key = ".nodes"

// The actions. The words are a contract.
const (
	ActionStop     = "stop"
	ActionResume   = "resume"
	ActionLock     = "lock"
	ActionUnlock   = "unlock"
	ActionForget   = "forget"
	ActionRollback = "rollback"
	ActionRetire   = "retire"

	ActionSetPolicy    = "set_policy"
	ActionRemovePolicy = "remove_policy"

	// Of rollouts: what people do, and then what the controller does.
	ActionRollout  = "rollout" // began
	ActionPause    = "pause_rollout"
	ActionGoOn     = "resume_rollout"
	ActionPromote  = "promote_rollout" // let the next stage begin
	ActionAbort    = "abort_rollout"
	ActionHalted   = "rollout_halted"
	ActionPromoted = "rollout_done"
	ActionReverted = "rollout_failed"
	ActionAborted  = "rollout_aborted"
	ActionReplaced = "superseded"
)

// Event is one action of a person or a program. Its texts are not safe to print.
type Event struct {
	Time time.Time `json:"time"` // by the clock of the machine that acted
	Who  string    `json:"who"`  // user@host
	// Accessor is the public id of the ACL token, never its secret; "": not known.
	Accessor string `json:"accessor,omitempty"`
	Action   string `json:"action"`
	Key      kv.Key `json:"key,omitempty"`
	Node     string `json:"node,omitempty"`
	File     string `json:"file,omitempty"`
	Version  uint64 `json:"version,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Row is the key whose row keeps the event.
func (e Event) Row() kv.Key { return cmp.Or(e.Key, NodeEvents) }

// cut is the event within the limits: any program can write a row.
func (e Event) cut() Event {
	e.Who, e.Reason, e.File = safetext.Cut(e.Who, maxWho), safetext.Cut(e.Reason, kv.MaxReason), safetext.Cut(e.File, maxFile)
	e.Action, e.Node, e.Accessor = safetext.Cut(e.Action, 16), safetext.Cut(e.Node, kv.MaxNodeLen), safetext.Cut(e.Accessor, 36)
	return e
}

// AppendEvent is a row with one more event. Lines that are not JSON are dropped. The order is
// the order of the writes, not of the clocks.
func AppendEvent(row []byte, e Event) []byte {
	e.Time = e.Time.UTC().Truncate(time.Second)
	line, err := json.Marshal(e.cut())
	if err != nil {
		return row // a year above 9999
	}
	lines, size := [][]byte{line}, len(line)+1
	for _, old := range slices.Backward(bytes.Split(row, []byte("\n"))) {
		if !json.Valid(old) {
			continue
		}
		if size += len(old) + 1; len(lines) == MaxEvents || size > MaxEventRow {
			break
		}
		lines = append(lines, old)
	}
	slices.Reverse(lines)
	return append(bytes.Join(lines, []byte("\n")), '\n')
}

// ParseEvents reads a row, the newest event first, and counts the lines that are damaged.
func ParseEvents(row []byte) (all []Event, damaged int) {
	for _, line := range slices.Backward(bytes.Split(row, []byte("\n"))) {
		var e Event
		switch err := json.Unmarshal(line, &e); {
		case len(line) == 0:
		case err != nil || e.Action == "" || e.Time.IsZero():
			damaged++
		case len(all) < MaxEvents:
			all = append(all, e.cut())
		}
	}
	return all, damaged
}

// Recorder commits actions together with their events.
type Recorder struct {
	Store  kv.Store
	Layout kv.Layout
	// Lost receives, once, the reason why an action left no event. nil: it is dropped.
	Lost func(error)
}

// maxTries is how often an action is decided again because others wrote first.
const maxTries = 8

// Do reads rows, and commits the operations of decide in one transaction with the event. Nil operations mean that there is
// nothing to do: then there is no event. If others write first, it reads and decides again. After an unknown outcome it does so
// once; nothing to do then means that the action was done. It reports whether the action was done.
//
// The event never prevents the action: if the token cannot write it, or others keep writing it, the action is committed alone and
// Lost receives the reason. Errors are those of decide and of the store. If e has no Action, there is no event.
func (r Recorder) Do(ctx context.Context, e Event, paths []string,
	decide func(kv.Snapshot) ([]kv.Op, error)) (did bool, err error) {
	path := r.Layout.Events(e.Row())
	backoff := wait.Backoff{Least: 10 * time.Millisecond, Most: time.Second / 2}
	var lost, unknown error
	for n := range 2 * maxTries {
		if n == maxTries && lost == nil {
			lost = err
		}
		var rows kv.Snapshot
		if rows, err = r.Store.Read(ctx, kv.Default, append(slices.Clip(paths), path)...); err != nil {
			return false, cmp.Or(unknown, err)
		}
		ops, refused := decide(rows)
		if refused != nil || ops == nil {
			return unknown != nil && refused == nil, refused
		}
		row := rows[path]
		if row.State == kv.Denied && lost == nil {
			lost = fmt.Errorf("read %s: %w", path, kv.ErrDenied)
		}
		if lost == nil && e.Action != "" {
			ops = append(ops, EventOp(path, row, e))
		}
		if len(ops) > 0 {
			_, err = r.Store.Commit(ctx, ops)
		}
		switch {
		case err == nil:
			if lost != nil && r.Lost != nil && e.Action != "" {
				r.Lost(lost)
			}
			return true, nil
		case lost == nil && (errors.Is(err, kv.ErrDenied) || errors.Is(err, kv.ErrTooLarge)):
			lost = err
			continue
		case errors.Is(err, kv.ErrUnknownOutcome) && unknown == nil:
			unknown = err
		case !errors.Is(err, kv.ErrConflict):
			return false, err
		}
		if wait.For(ctx, backoff.After(n)) != nil {
			break
		}
	}
	return false, err
}

// Leave writes the event of an action that is already done.
func (r Recorder) Leave(ctx context.Context, e Event) error {
	_, err := r.Do(ctx, e, nil, func(kv.Snapshot) ([]kv.Op, error) { return []kv.Op{}, nil })
	return err
}

// EventOp is the write that adds an event to a row that was read.
func EventOp(path string, row kv.Entry, e Event) kv.Op {
	return kv.Op{Verb: kv.CheckAndSet, Path: path, Index: row.Index, Value: AppendEvent(row.Value, e)}
}

// atOnce is how many rows are read at once: so many of kv.MaxValue fit into one answer.
const atOnce = 8

// Read reads the events of keys, the newest first. A row that the token cannot read has none.
func (r Recorder) Read(ctx context.Context, keys ...kv.Key) (map[kv.Key][]Event, error) {
	all := make(map[kv.Key][]Event, len(keys))
	for some := range slices.Chunk(keys, atOnce) {
		paths := make([]string, len(some))
		for i, k := range some {
			paths[i] = r.Layout.Events(k)
		}
		rows, err := r.Store.Read(ctx, kv.Default, paths...)
		if err != nil {
			return nil, err
		}
		for i, k := range some {
			all[k], _ = ParseEvents(rows[paths[i]].Value)
		}
	}
	return all, nil
}
