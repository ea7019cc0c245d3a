package difftest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Servers are the two that are compared. They are used by one goroutine.
type Servers struct {
	// Patience is for one answer, also of a blocked query that must be woken.
	Patience time.Duration

	ref, sub *endpoint
	known    *relation
	runs     int
	synced   bool
	count    int
}

// New compares the server at the address sub (host:port) with the one at ref,
// which is Consul. Nobody else may write to either.
func New(ref, sub string) *Servers {
	return &Servers{Patience: 30 * time.Second, ref: &endpoint{addr: ref}, sub: &endpoint{addr: sub}, known: newRelation()}
}

// Close closes the connections.
func (s *Servers) Close() {
	s.ref.close()
	s.sub.close()
}

// Steps is how many steps of sequences have been compared so far.
func (s *Servers) Steps() int { return s.count }

// Difference is the first thing at which the two servers differ.
type Difference struct {
	Step   int  // of the sequence, from 0; as many as it has when it showed in what was left
	Sent   Step // as it was written, with its placeholders
	What   string
	Answer [2]string // the reference's and the subject's
}

func (d *Difference) Error() string {
	return fmt.Sprintf("step %d, %s %s: %s\nreference: %s\nsubject:   %s", d.Step, d.Sent.Method, d.Sent.Target, d.What, d.Answer[0], d.Answer[1])
}

// Run runs a sequence on both servers and removes what it left behind. The
// error is a *Difference, or tells why nothing could be compared.
func (s *Servers) Run(ctx context.Context, seq Sequence) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := s.known.clone()
	r := &run{Servers: s, prefix: fmt.Sprintf("run%d", s.runs)}
	s.runs++
	err := r.synchronize(ctx)
	if err == nil {
		err = r.steps(ctx, seq)
	}
	cancel()
	r.watching.Wait()
	if err != nil {
		// What was learned may be wrong, and the tables are not alike.
		s.known, s.synced = before, false
		return errors.Join(err, r.empty(context.WithoutCancel(ctx)))
	}
	return nil
}

// both sends a step, as each server needs it, to both at once.
func (s *Servers) both(ctx context.Context, ref, sub Step) (answer, answer) {
	got := make(chan answer, 1)
	go func() { got <- s.sub.send(ctx, sub, s.Patience) }()
	a := s.ref.send(ctx, ref, s.Patience)
	return a, <-got
}

// synchronize makes the tables of both servers as new as each other, as they
// are not at first, nor after a difference: they have other writes behind them.
func (r *run) synchronize(ctx context.Context) error {
	if r.synced {
		return nil
	}
	r.known = newRelation()
	for _, s := range []Step{
		{Method: http.MethodPut, Target: "/v1/kv/{p}"},
		{Method: http.MethodDelete, Target: "/v1/kv/?recurse"},
		{Method: http.MethodPut, Target: "/v1/session/create", Body: `{"LockDelay": 0}`},
		{Method: http.MethodPut, Target: "/v1/session/destroy/{s0}"},
		{Method: http.MethodGet, Target: "/v1/kv/?recurse"},
		{Method: http.MethodGet, Target: "/v1/session/list"},
	} {
		if err := r.one(ctx, 0, s); err != nil {
			return fmt.Errorf("before the first step: %w", err)
		}
	}
	r.created = nil
	r.synced = true
	return nil
}

// empty removes what is on either server, whatever they think of it.
func (s *Servers) empty(ctx context.Context) error {
	var errs []error
	for _, e := range []*endpoint{s.ref, s.sub} {
		sessions := e.send(ctx, Step{Method: http.MethodGet, Target: "/v1/session/list"}, s.Patience)
		for id := range strings.SplitSeq(string(sessions.body), `"ID":"`) {
			if id, _, ok := strings.Cut(id, `"`); ok && len(id) == len(nobody) {
				errs = append(errs, e.send(ctx, Step{Method: http.MethodPut, Target: "/v1/session/destroy/" + id}, s.Patience).err)
			}
		}
		errs = append(errs, sessions.err, e.send(ctx, Step{Method: http.MethodDelete, Target: "/v1/kv/?recurse"}, s.Patience).err)
	}
	return errors.Join(errs...)
}
