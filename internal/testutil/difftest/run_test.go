package difftest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// run is one sequence on its way.
type run struct {
	*Servers
	prefix   string
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
	for _, step := range []Step{
		{Method: http.MethodGet, Target: "/v1/kv/?recurse"},
		{Method: http.MethodDelete, Target: "/v1/kv/?recurse"},
		{Method: http.MethodGet, Target: "/v1/kv/?recurse"},
	} {
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
	return r.compared(ctx, at, s, a, b)
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

var placeholder = regexp.MustCompile(`\{(mod|idx)(-1)?:([^{}]*)\}`)

// expand fills the placeholders of a step in, for each of the servers.
func (r *run) expand(ctx context.Context, at int, s Step) (ref, sub Step, err error) {
	ref, sub = s, s
	target, body := func(s *Step) *string { return &s.Target }, func(s *Step) *string { return &s.Body }
	for _, text := range []func(*Step) *string{target, body} {
		filled := strings.ReplaceAll(*text(&s), "{p}", r.prefix)
		*text(&ref), *text(&sub) = filled, filled
		for _, found := range placeholder.FindAllStringSubmatch(filled, -1) {
			x, y, err := r.number(ctx, at, found[1], found[3], found[2] != "")
			if err != nil {
				return ref, sub, err
			}
			*text(&ref) = strings.Replace(*text(&ref), found[0], strconv.FormatUint(x, 10), 1)
			*text(&sub) = strings.Replace(*text(&sub), found[0], strconv.FormatUint(y, 10), 1)
		}
	}
	return ref, sub, nil
}

// number asks both servers for an index that they have now. The answers are
// compared as those of any step.
func (r *run) number(ctx context.Context, at int, which, of string, less bool) (ref, sub uint64, err error) {
	s := Step{Method: http.MethodGet, Target: of}
	if which == "mod" {
		s.Target = "/v1/kv/" + of
	}
	a, b := r.both(ctx, s, s)
	if err := r.compared(ctx, at, s, a, b); err != nil {
		return 0, 0, err
	}
	n := [2]uint64{a.index(), b.index()} // 0 for an error, which has none
	if which == "mod" {
		for i, got := range []answer{a, b} {
			var rows []struct{ ModifyIndex uint64 }
			if n[i] = 0; got.status != http.StatusOK {
				continue
			}
			if err := json.Unmarshal(got.body, &rows); err != nil || len(rows) != 1 {
				return 0, 0, fmt.Errorf("the index that GET %s gives: %d rows, %w", s.Target, len(rows), err)
			}
			n[i] = rows[0].ModifyIndex
		}
	}
	if less {
		n[0], n[1] = n[0]-min(n[0], 1), n[1]-min(n[1], 1)
	}
	return n[0], n[1], nil
}
