// Package publish owns the one path by which content gets into the store: accept the
// content, read the live version, decide, one transaction, and an honest outcome. It also
// reads the sources of content. Of this module it imports kv, gate, record, rollout, hold and wait.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
)

// MaxAttempts is how often a publish that loses the race begins again, the
// first attempt included.
const MaxAttempts = 10

// Publisher puts content into a store. It may be used concurrently.
type Publisher struct {
	Store  kv.Store
	Once   kv.Store // the same without retries, for AtNotify. nil: Store
	Layout kv.Layout
	By     string           // the author: user@host
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: nothing is logged

	// Fault, if set, is called before each request to the store. Its error ends
	// the publish at once, as a crash at this point would. For tests.
	Fault func(Point) error
	// Wait waits between attempts until the time has passed or ctx ends, then
	// with its error. nil: a timer.
	Wait func(context.Context, time.Duration) error
	// ResolveFor is how long an unknown outcome is resolved. 0: 30 s.
	ResolveFor time.Duration
}

// withDefaults is p with a value in each field.
func (p *Publisher) withDefaults() *Publisher {
	q := *p
	if q.Once == nil {
		q.Once = q.Store
	}
	if q.Now == nil {
		q.Now = time.Now
	}
	if q.Wait == nil {
		q.Wait = wait.For
	}
	q.Log, q.ResolveFor = cmp.Or(q.Log, slog.New(slog.DiscardHandler)), cmp.Or(q.ResolveFor, 30*time.Second)
	return &q
}

// Request says what to publish, and under which conditions.
type Request struct {
	Key        kv.Key
	Content    []byte          // plain; not changed
	MinLines   int             // fewer are refused; 0: any number
	Encoding   record.Encoding // how it is stored; "": plain
	Message    string          // kept in the manifest, at most kv.MaxMessage bytes
	IgnoreStop bool            // publish although the key is stopped
	// IfVersion, if set, is the managed version that must be live; 0: the key
	// must be absent or unmanaged.
	IfVersion *uint64
	// IfSHA256, beside IfVersion, is the SHA-256 of the plain bytes that must be live; "":
	// any. It distinguishes versions with the same number, or with none (of 1.x).
	IfSHA256 string
	DryRun   bool        // do all but the write
	Limits   gate.Limits // how much it may differ from the live version
	// Now: to all nodes at once, past the stages of the policy and whatever rollout is open. It takes a Message.
	Now bool
	// Retry: content that was withdrawn may be published again.
	Retry bool
	// Begin, if set, is asked before a rollout begins, with its plan and the open rollout that it would supersede (nil: none).
	// Its error ends the publish. If it has waited for something: ErrReadAgain.
	Begin func(context.Context, rollout.Plan, *rollout.Row) error
	// Event is written with the version: in the same transaction if rights and room allow,
	// else right after it. nil: none.
	Event *hold.Event
	// pinned: GoBack set IfVersion.
	pinned bool
	// past: GoBack set Content.
	past bool
}

// Action is what a publish did. The words are a contract.
type Action string

// The actions of a publish without an error.
const (
	Published    Action = "published"
	Unchanged    Action = "unchanged"     // the same bytes are live already; nothing was written
	Healed       Action = "healed"        // the same bytes were live, but damaged: they were written again
	WouldPublish Action = "would_publish" // a dry run that found something to write

	// With stages in the policy.
	RollingOut    Action = "rolling_out"    // a rollout began; the version is its candidate
	Follows       Action = "follows"        // the open rollout has the same content; nothing was written
	AbortsRollout Action = "aborts_rollout" // the current version was published again: the open rollout is aborted
	WouldRollOut  Action = "would_roll_out" // a dry run
	WouldAbort    Action = "would_abort_rollout"
)

// Wrote reports whether the store has another current version now.
func (a Action) Wrote() bool { return a == Published || a == Healed }

// Result is the result of a publish, and the JSON of `in --json`.
type Result struct {
	Key     kv.Key `json:"key"`
	Action  Action `json:"action"`
	Version uint64 `json:"version"`           // the live one, a candidate, or the one that would be; 0: an unmanaged one
	Lineage string `json:"lineage,omitempty"` // "": an unmanaged version is unchanged
	SHA256  string `json:"sha256"`            // of the plain bytes
	Size    int    `json:"size"`              // of the plain bytes
	Lines   int    `json:"lines"`
	// Attempts are 1 if no race was lost.
	Attempts int `json:"attempts"`
	// Rollout is the ID of the rollout that began, or that is followed or aborted; "": none.
	Rollout string `json:"rollout,omitempty"`
	// Change from the live version before; nil: not requested, or none was whole.
	Change *gate.Change `json:"change,omitempty"`

	Previous  uint64    `json:"-"` // the managed version that was live before; 0: none
	Old       []byte    `json:"-"` // the plain bytes that were live before; nil: none, or damaged
	New       []byte    `json:"-"` // the plain bytes of the request
	Stored    int       `json:"-"` // bytes as stored
	Published time.Time `json:"-"` // when, as in the manifest, with a monotonic reading; zero: nothing was to be written
	Resolved  bool      `json:"-"` // the outcome was unknown at first, and was found out
	Notes     []string  `json:"-"` // for people
	EventLost error     `json:"-"` // why the Event of the request is not in the store; nil: it is, or there is none
}

// Publish does what req asks for. Among its errors are *gate.Refusal,
// *gate.Stopped, *Conflict, *record.NeverLive, *kv.NameError (a nested key), gate.ErrMessage and
// those of the store. Unless the error wraps kv.ErrUnknownOutcome, a failed
// publish has changed nothing that nodes read.
func (p *Publisher) Publish(ctx context.Context, req Request) (Result, error) {
	p = p.withDefaults()
	load, err := pack(req)
	if err != nil {
		return Result{}, err
	}
	backoff := wait.Backoff{Least: retryLeast, Most: retryMost}
	var lost *lostError
	for n := 1; ; n++ {
		res, err := p.attempt(ctx, req, load, lost)
		res.Attempts = n
		if err == nil {
			return res, nil
		}
		if lost = asLost(err); lost == nil {
			return res, err // it names the key
		}
		p.Log.InfoContext(ctx, "attempt to publish failed", "key", req.Key, "attempt", n, "error", lost)
		if n == MaxAttempts {
			return res, lost.final(req.Key, n)
		}
		if err := p.Wait(ctx, backoff.After(n-1)); err != nil {
			return res, fmt.Errorf("publish %s: nothing was published: %w", req.Key, err)
		}
	}
}

// The pauses between attempts, so that fifty publishers at once soon get past each other.
const retryLeast, retryMost = 100 * time.Millisecond, 4 * time.Second

// attempt goes once from reading to writing. The error is a *lostError if a new attempt
// can succeed; before is the error of the attempt before.
func (p *Publisher) attempt(ctx context.Context, req Request, load parcel, before *lostError) (Result, error) {
	b, err := p.readLive(ctx, req)
	if err != nil {
		return Result{}, err
	}
	if err := ifVersion(req, b, before); err != nil {
		return Result{}, err
	}
	res := Result{
		Key: req.Key, SHA256: load.sha256, Size: len(load.plain), Stored: len(load.stored), Lines: load.lines,
		Old: b.Plain, New: req.Content, Notes: b.notes(req, p.Layout),
	}
	res.Previous, _ = b.Version()
	decision := b.Decide(load.sha256)
	if decision == record.Keep {
		res.Action, res.Version = Unchanged, res.Previous
		if b.State == record.Managed {
			res.Lineage = b.Manifest.Lineage
		}
		if b.open() != nil {
			err = p.abort(ctx, req, b, &res)
		}
		return res, err
	}
	staged := decision == record.Replace && req.staged(b.policy)
	if staged && b.follows(load.sha256) {
		res.Action, res.Version, res.Rollout = Follows, b.rollout.Version, b.rollout.ID
		if b.Manifest != nil {
			res.Lineage = b.Manifest.Lineage // of the candidate, too
		}
		return res, nil
	}
	if staged && b.State == record.Damaged {
		return Result{}, &gate.Refusal{
			Reason: gate.Corrupt, Key: req.Key, Detail: "the live version is damaged, so a rollout could not go back to it: " + b.Why,
			Remedy: fmt.Sprintf("publish the content of the live version again, or see `kvexpress history -k %s`", req.Key),
		}
	}
	if err := b.policy.Accept(req.Key, load.lines, req.Message); err != nil && decision != record.Heal {
		return Result{}, err
	}
	if res.Change, err = compare(req, b, decision); err != nil {
		return Result{}, err
	}
	place, err := p.succeed(ctx, req.Key, b)
	if err != nil {
		return Result{}, err
	}
	if decision == record.Replace {
		if err := p.notWithdrawn(ctx, req, load, b, place); err != nil {
			return Result{}, err
		}
	}
	if staged && req.Begin != nil {
		if err := req.Begin(ctx, b.policy.Plan, b.open()); errors.Is(err, ErrReadAgain) {
			return Result{}, &lostError{cause: err}
		} else if err != nil {
			return Result{}, err
		}
	}
	pl, err := p.plan(ctx, req, load, b, place)
	if err != nil {
		return Result{}, err
	}
	res.Action, res.Lineage, res.Version, res.Published = Published, place.lineage, place.version, pl.began
	res.note(pl.note)
	switch {
	case req.DryRun && staged:
		res.Action = WouldRollOut
		return res, nil
	case req.DryRun:
		res.Action = WouldPublish
		return res, nil
	case decision == record.Heal:
		res.Action = Healed
	case staged:
		res.Action, res.Rollout = RollingOut, pl.manifest.PublishID
	}
	if err := p.write(ctx, pl, before, &res); err != nil {
		return res, err
	}
	res.EventLost = p.leaveAfter(ctx, pl, req.Event)
	return res, nil
}

// note adds a note for people, if it is not empty.
func (r *Result) note(text string) {
	if text != "" {
		r.Notes = append(r.Notes, text)
	}
}
