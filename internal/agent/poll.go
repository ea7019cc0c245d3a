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

// pollEvery is how often rows are read that are not watched, with a tenth of jitter.
const pollEvery = 5 * time.Second

// poller answers the questions of targets that may not have a blocking query. It reads their rows together, kv.MaxOps a
// request. It has a goroutine while there is a question.
type poller struct {
	source *storeSource

	mu    sync.Mutex
	rows  map[*polled]bool // without an answer
	end   context.CancelFunc
	fresh chan struct{} // of the running goroutine; holds one: answer a question at once
}

// polled is a question, and where its answer goes.
type polled struct {
	question
	answers chan<- Snapshot
	cancel  context.CancelFunc
}

func (q *polled) urgent() bool { return q.since == 0 && q.delay == 0 }

// follow takes a question. It is answered once: with a change, an error, or a quiet snapshot when its limit is over.
func (p *poller) follow(ctx context.Context, q question, answers chan<- Snapshot) {
	limited, cancel := context.WithTimeout(ctx, q.limit)
	row := &polled{question: q, answers: answers}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rows) == 0 {
		run, end := context.WithCancel(context.WithoutCancel(ctx))
		p.rows, p.end, p.fresh = map[*polled]bool{}, end, make(chan struct{}, 1)
		go p.run(run, p.fresh) // ends with the last answer
	}
	p.rows[row] = true
	if row.urgent() {
		select {
		case p.fresh <- struct{}{}:
		default: // it is awake
		}
	}
	stop := context.AfterFunc(limited, func() {
		p.answer(row, Snapshot{Err: ctx.Err(), Quiet: true, row: q.path, index: q.since})
	})
	row.cancel = func() { stop(); cancel() }
}

// answer answers a question, once.
func (p *poller) answer(row *polled, s Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.rows[row] {
		return
	}
	delete(p.rows, row)
	row.cancel()
	row.answers <- s // it has room for the only one
	if len(p.rows) == 0 {
		p.end()
	}
}

// run reads urgent rows at once, and all of them every pollEvery.
func (p *poller) run(ctx context.Context, fresh <-chan struct{}) {
	tick := func() time.Duration { return pollEvery*9/10 + rand.N(pollEvery/5) }
	timer := time.NewTimer(tick())
	defer timer.Stop()
	for ctx.Err() == nil {
		urgent := true
		select {
		case <-ctx.Done():
		case <-fresh:
		case <-timer.C:
			urgent = false
			timer.Reset(tick())
		}
		for batch := range slices.Chunk(p.questions(urgent), kv.MaxOps) {
			if ctx.Err() == nil {
				p.read(ctx, batch)
			}
		}
	}
}

// questions are those without an answer.
func (p *poller) questions(urgent bool) (all []*polled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for row := range p.rows {
		if !urgent || row.urgent() {
			all = append(all, row)
		}
	}
	return all
}

// read reads one snapshot, and answers the questions for which there is news.
func (p *poller) read(ctx context.Context, batch []*polled) {
	paths := make([]string, len(batch))
	for i, row := range batch {
		paths[i] = row.path
	}
	var rows kv.Snapshot
	err := p.source.unreachable()
	if err == nil || !slices.ContainsFunc(batch, func(row *polled) bool { return row.since != 0 }) {
		rows, err = p.source.poll(ctx, paths) // else the targets see the outage first, and ask again
	}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, kv.ErrTooLarge) && len(batch) > 1: // one of the rows is no checksum
		p.read(ctx, batch[:len(batch)/2])
		p.read(ctx, batch[len(batch)/2:])
	case err != nil:
		for _, row := range p.questions(false) { // it is the same for all
			p.answer(row, snapshotOf(row.path, kv.Entry{}, err))
		}
	default:
		for _, row := range batch {
			entry := rows[row.path]
			entry.Index = max(1, entry.Index) // of an absent one too: 0 means that nothing is known
			if entry.State == kv.Denied {
				err := &kv.StoreError{Op: "read " + row.path, Addr: p.source.Addr(), Kind: kv.ErrDenied}
				p.answer(row, snapshotOf(row.path, entry, err))
			} else if entry.Index != row.since {
				p.answer(row, snapshotOf(row.path, entry, nil))
			}
		}
	}
}
