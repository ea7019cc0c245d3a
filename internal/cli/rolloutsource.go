package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

const (
	// viewWait is how long a hub waits for a change before it answers.
	viewWait = 5 * time.Second
	// viewEvery is the least time between two reads of the row in the store.
	viewEvery = 300 * time.Millisecond
	// hubLimit limits one question to a hub, beyond its wait.
	hubLimit = 10 * time.Second
	// maxView limits the answer of a hub, in bytes.
	maxView = 4 << 20
)

// rolloutSource knows the rollout of a key: a hub, or without one the store, which has no numbers of nodes.
type rolloutSource struct {
	s     *session
	k     kv.Key
	at    int    // of s.hubs: the hub that is asked
	seen  uint64 // the index of its last answer; 0: none
	asked bool   // a hub has answered
	// moved is the controller for which another hub was asked: once each.
	moved string
}

// next is the rollout. After the first call it waits for a change, but not for long. A hub that cannot be asked is replaced by
// the next one, and in the end by the store: a rollout survives its hubs.
func (r *rolloutSource) next(ctx context.Context) (rollout.View, error) {
	var failed error
	var other rollout.View // of a hub that is not the controller
	for range r.s.hubs {
		var v rollout.View
		query := url.Values{"since": {strconv.FormatUint(r.seen, 10)}, "wait": {strconv.FormatInt(viewWait.Milliseconds(), 10)}}
		if r.seen == 0 {
			query.Set("wait", "0")
		}
		err := r.ask(ctx, rollout.ViewPath, query, &v)
		switch {
		case ctx.Err() != nil:
			return v, context.Cause(ctx)
		case errors.Is(err, wire.ErrForbidden):
			return v, err
		case err != nil:
			failed, r.at, r.seen = err, (r.at+1)%len(r.s.hubs), 0
			continue
		}
		if v.Index == r.seen && r.asked { // it does not wait, as after the end
			err = wait.For(ctx, viewEvery)
		}
		r.seen, r.asked = v.Index, true
		if !r.prefer(v) {
			return v, err
		}
		other = v
	}
	if failed != nil || r.seen > 0 {
		if err := wait.For(ctx, viewEvery); err != nil {
			return rollout.View{}, err
		}
	}
	if other.Row != nil {
		return other, nil
	}
	row, index, err := r.s.rolloutRow(ctx, r.k)
	r.seen = index
	if len(r.s.hubs) > 0 {
		r.seen = 0 // an index is of one hub
	}
	return rollout.ViewOf(r.k, row), err
}

// prefer reports whether another hub is asked next, because only the controller of the rollout knows the numbers of nodes.
func (r *rolloutSource) prefer(v rollout.View) bool {
	if v.Controls || v.Row == nil || v.Row.Controller == "" || v.Row.Controller == r.moved || len(r.s.hubs) < 2 {
		return false
	}
	if r.at, r.seen = (r.at+1)%len(r.s.hubs), 0; r.at == 0 {
		r.moved = v.Row.Controller // all were asked
	}
	return true
}

// ask asks the hub for a page.
func (r *rolloutSource) ask(ctx context.Context, path string, query url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, viewWait+hubLimit)
	defer cancel()
	hub := r.s.hubs[r.at]
	query.Set("key", string(r.k))
	b, err := hub.Get(ctx, path, query, maxView)
	if err == nil {
		err = json.Unmarshal(b, answer)
	}
	return rolloutless(err)
}

// preview is what a rollout would be. The error wraps kv.ErrUnreachable if no hub answers, or kv.ErrDenied.
func (r *rolloutSource) preview(ctx context.Context) (p rollout.Preview, err error) {
	var errs []error
	for range r.s.hubs {
		err := r.ask(ctx, rollout.PreviewPath, url.Values{}, &p)
		switch {
		case err == nil:
			return p, nil
		case errors.Is(err, wire.ErrForbidden):
			return p, &kv.StoreError{Op: "preview the rollout", Addr: "the hub " + r.s.hubs[r.at].Addr, Kind: kv.ErrDenied, Cause: err}
		}
		errs = append(errs, err)
		r.at = (r.at + 1) % len(r.s.hubs)
	}
	return p, &kv.StoreError{Op: "preview the rollout", Addr: "the hub", Kind: kv.ErrUnreachable, Cause: errors.Join(errs...),
		Remedy: fmt.Sprintf("without stages: `kvexpress in -k %s -f FILE --now -m WHY`", r.k)}
}

// rolloutRow is the row in the store, with its index; nil: the key has had no rollout.
func (s *session) rolloutRow(ctx context.Context, k kv.Key) (*rollout.Row, uint64, error) {
	path := s.layout.Rollout(k)
	rows, err := s.store.Read(ctx, kv.Default, path)
	if err != nil {
		return nil, 0, err
	}
	row, err := rollout.ParseRow(k, rows[path])
	return row, rows[path].Index, err
}
