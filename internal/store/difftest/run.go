package difftest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// run is one sequence on its way.
type run struct {
	*Servers
	prefix   string
	created  []string // the reference's ids of sessions, as they were made
	watches  []*watch
	watching sync.WaitGroup
}

// steps runs a sequence, compares all that it left, removes it and compares
// that nothing is left.
func (r *run) steps(ctx context.Context, seq Sequence) error {
	for i, step := range seq {
		r.count++
		if err := r.step(ctx, i, step); err != nil {
			return err
		}
	}
	last := []Step{
		{Method: http.MethodGet, Target: "/v1/kv/?recurse"},
		{Method: http.MethodGet, Target: "/v1/session/list"},
	}
	for i := range r.created {
		last = append(last, Step{Method: http.MethodPut, Target: fmt.Sprintf("/v1/session/destroy/{s%d}", i)})
	}
	last = append(last,
		Step{Method: http.MethodDelete, Target: "/v1/kv/?recurse"},
		Step{Method: http.MethodGet, Target: "/v1/kv/?recurse"},
		Step{Method: http.MethodGet, Target: "/v1/session/list"},
	)
	for _, step := range last {
		if err := r.step(ctx, len(seq), step); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) step(ctx context.Context, at int, s Step) error {
	if s.Method == Watch {
		return r.watch(ctx, at, s)
	}
	if err := r.one(ctx, at, s); err != nil {
		return err
	}
	if s.Method == http.MethodGet {
		return nil
	}
	return r.wakes(ctx, at)
}

// one sends a step to both servers and compares.
func (r *run) one(ctx context.Context, at int, s Step) error {
	ref, sub, err := r.expand(ctx, at, s)
	if err != nil {
		return err
	}
	a, b := r.both(ctx, ref, sub)
	if err := r.compared(ctx, at, s, a, b); err != nil {
		return err
	}
	if s.Method == http.MethodPut && strings.HasPrefix(s.Target, "/v1/session/create") && a.status == http.StatusOK {
		var session struct{ ID string }
		if json.Unmarshal(a.body, &session) == nil && session.ID != "" {
			r.created = append(r.created, session.ID)
		}
	}
	return nil
}

// compared is the difference between two answers to a step, if there is one.
func (r *run) compared(ctx context.Context, at int, s Step, ref, sub answer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.known.compare(ref, sub); err != nil {
		return &Difference{Step: at, Sent: s, What: err.Error(), Answer: [2]string{ref.String(), sub.String()}}
	}
	return nil
}

// String is the answer for people, its end cut off.
func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %v %s", a.status, a.header, strconv.Quote(string(a.body[:min(len(a.body), 2000)])))
}
