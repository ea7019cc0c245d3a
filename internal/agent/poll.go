package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/kv"
)

// pollEvery is how often a row is read that is not watched, by and large.
const pollEvery = 5 * time.Second

// poller is the source of targets that are not watched. It reads their rows, kv.MaxOps with each request, those first
// that were read longest ago. It has a goroutine as long as a target follows a row.
type poller struct {
	link *link

	mu    sync.Mutex
	fresh []*polled // to be read at once
	later []*polled // in the order in which they are due
	alive int       // that have no answer
	end   context.CancelFunc
	kick  chan struct{} // of the goroutine that runs; holds one: there is something to do
}

// polled is a row that a target follows.
type polled struct {
	question
	answers chan<- answer
	cancel  context.CancelFunc
	due     time.Time
	done    bool
}

func (p *poller) follow(ctx context.Context, q question, answers chan<- answer) {
	ended, cancel := context.WithTimeout(ctx, q.wait)
	w := &polled{question: q, answers: answers}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive++; p.end == nil {
		run, end := context.WithCancel(context.WithoutCancel(ctx))
		p.end, p.kick = end, make(chan struct{}, 1)
		go p.run(run, p.kick) // ends with the last answer
	}
	if q.since == 0 && q.delay == 0 {
		p.fresh = append(p.fresh, w)
	} else {
		w.due = nextPoll()
		p.later = append(p.later, w)
	}
	select {
	case p.kick <- struct{}{}:
	default: // it is awake
	}
	stop := context.AfterFunc(ended, func() {
		p.answer(w, answer{path: q.path, entry: kv.Entry{Index: q.since}, err: ctx.Err(), quiet: true})
	})
	w.cancel = func() { stop(); cancel() }
}

func nextPoll() time.Time { return time.Now().Add(pollEvery*9/10 + rand.N(pollEvery/5)) }

// answer answers once.
func (p *poller) answer(w *polled, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.done {
		return
	}
	w.done = true
	w.cancel()
	w.answers <- a // it has room for the only one
	if p.alive--; p.alive == 0 {
		p.end()
		p.end, p.fresh, p.later = nil, nil, nil
	}
}

func (p *poller) run(ctx context.Context, kick <-chan struct{}) {
	for ctx.Err() == nil {
		batch, rest := p.next(ctx)
		if len(batch) > 0 {
			p.read(ctx, batch)
			continue
		}
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
		case <-kick:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next is what to read now, and without that how long there is nothing to read. A request that is made has all that fits,
// so that rows that became due apart are read together from then on.
func (p *poller) next(ctx context.Context) (batch []*polled, rest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return nil, 0 // the rows are those of another goroutine
	}
	take := func(from []*polled) []*polled {
		for len(from) > 0 && (from[0].done || len(batch) < kv.MaxOps) {
			if !from[0].done {
				batch = append(batch, from[0])
			}
			from = from[1:]
		}
		return from
	}
	p.fresh = take(p.fresh)
	for len(p.later) > 0 && p.later[0].done {
		p.later = p.later[1:]
	}
	if len(p.later) > 0 {
		rest = time.Until(p.later[0].due)
	} else {
		rest = pollEvery
	}
	if len(batch) > 0 || rest <= 0 {
		p.later = take(p.later)
	}
	return batch, rest
}

// read reads rows of one moment, and answers whom it brings something new.
func (p *poller) read(ctx context.Context, batch []*polled) {
	paths := make([]string, len(batch))
	for i, w := range batch {
		paths[i] = w.path
	}
	err := p.link.away()
	asked := slices.IndexFunc(batch, func(w *polled) bool { return w.since != 0 }) < 0
	var rows kv.Snapshot
	if err == nil || asked { // else they are told first, and ask anew
		rows, err = p.link.poll(ctx, paths)
	}
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, kv.ErrLongAnswer) && len(batch) > 1 { // one of them is no checksum
		p.read(ctx, batch[:len(batch)/2])
		p.read(ctx, batch[len(batch)/2:])
		return
	}
	if err != nil {
		p.mu.Lock()
		batch = append(append(batch, p.fresh...), p.later...) // it is the same for all
		p.mu.Unlock()
	}
	due := nextPoll()
	var same []*polled
	for _, w := range batch {
		row := rows[w.path]
		row.Index = max(1, row.Index) // of an absent one too: 0 means that nothing is known
		switch {
		case err != nil:
			p.answer(w, answer{path: w.path, err: err})
		case row.State == kv.Denied:
			p.answer(w, answer{path: w.path, err: &kv.StoreError{Op: "read " + w.path, Addr: p.link.Addr(), Kind: kv.ErrDenied}})
		case row.Index != w.since:
			p.answer(w, answer{path: w.path, entry: row})
		default:
			w.due = due
			same = append(same, w)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() == nil {
		p.later = append(p.later, same...)
	}
}
