// Package difftest sends the same requests to a real Consul (the reference) and to another server
// (the subject). It fails at the first difference that a client of Consul's KV store can read: a
// status, an index header, a leader header, the JSON or the bytes of an answer, the reason of a
// failed operation, or the moment at which a blocking query is answered.
//
// Each server has indexes of its own. They must be in the same order on both servers.
package difftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Servers are the two that are compared. They are used by one goroutine.
type Servers struct {
	// Patience is for one answer, also of a blocking query that must be answered.
	Patience time.Duration

	ref, sub string // host:port
	client   *http.Client
	known    relation
	runs     int
	synced   bool
	count    int
}

// New compares the server at the address sub (host:port) with the one at ref,
// which is Consul. No other client may write to either.
func New(ref, sub string) *Servers {
	return &Servers{Patience: 30 * time.Second, ref: ref, sub: sub, client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the connections.
func (s *Servers) Close() { s.client.CloseIdleConnections() }

// Steps is how many steps of sequences have been compared so far.
func (s *Servers) Steps() int { return s.count }

// Difference is the first thing at which the two servers differ.
type Difference struct {
	Step   int  // of the sequence, from 0; its length if the rows left at the end differ
	Sent   Step // as it was written, with its placeholders
	What   string
	Answer [2]string // the reference's and the subject's
}

func (d *Difference) Error() string {
	return fmt.Sprintf("step %d, %s %s: %s\nreference: %s\nsubject:   %s",
		d.Step, d.Sent.Method, d.Sent.Target, d.What, d.Answer[0], d.Answer[1])
}

// Run runs a sequence on both servers and removes what it left behind. The
// error is a *Difference, or tells why nothing could be compared.
func (s *Servers) Run(ctx context.Context, seq Sequence) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := slices.Clone(s.known)
	r := &run{Servers: s, prefix: fmt.Sprintf("run%d", s.runs)}
	s.runs++
	err := r.synchronize(ctx)
	if err == nil {
		err = r.steps(ctx, seq)
	}
	cancel()
	r.watching.Wait()
	if err == nil {
		return nil
	}
	// The known pairs of indexes may be wrong, and the tables differ.
	s.known, s.synced = before, false
	clean, everything := context.WithoutCancel(ctx), Step{Method: http.MethodDelete, Target: "/v1/kv/?recurse"}
	return errors.Join(err, s.send(clean, s.ref, everything, s.Patience).err, s.send(clean, s.sub, everything, s.Patience).err)
}

// both sends a step, as each server needs it, to both at once.
func (s *Servers) both(ctx context.Context, ref, sub Step) (answer, answer) {
	got := make(chan answer, 1)
	go func() { got <- s.send(ctx, s.sub, sub, s.Patience) }()
	a := s.send(ctx, s.ref, ref, s.Patience)
	return a, <-got
}

// send is one request and its answer.
func (s *Servers) send(ctx context.Context, addr string, step Step, patience time.Duration) answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, step.Method, "http://"+addr+step.Target, strings.NewReader(step.Body))
	if err != nil {
		return answer{err: err}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{sent: step.Target + " " + step.Body, status: resp.StatusCode, header: resp.Header, body: body, err: err}
}

// synchronize makes the tables of both servers as new as each other, as they
// are not at first, nor after a difference: they have other writes behind them.
func (r *run) synchronize(ctx context.Context) error {
	if r.synced {
		return nil
	}
	r.known = nil
	for _, s := range []Step{
		{Method: http.MethodPut, Target: "/v1/kv/{p}"},
		{Method: http.MethodDelete, Target: "/v1/kv/?recurse"},
		{Method: http.MethodGet, Target: "/v1/kv/?recurse"},
	} {
		if err := r.one(ctx, 0, s); err != nil {
			return fmt.Errorf("before the first step: %w", err)
		}
	}
	r.synced = true
	return nil
}
