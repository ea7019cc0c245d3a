package fanout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"weak"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

const (
	// questions is how many questions of one agent are answered at a time. It waits with the next one.
	questions = 64
	// helloEvery is the least time between two hellos of a connection.
	helloEvery = time.Second
	// perSecond is how many messages of one agent are read in a second. A start with 4,096 targets may ask for each.
	perSecond = 5000
	// receiptEvery is the least time between two receipts of a connection.
	receiptEvery = 20 * time.Millisecond
	// maxFiles is how many paths a target has: of a file, and of what a link leads to.
	maxFiles = 4
)

// session is one connected agent.
type session struct {
	f    *Fanout
	conn wire.Conn
	ctx  context.Context
	end  context.CancelCauseFunc
	jobs sync.WaitGroup
	free chan struct{} // places for questions, taken until the answer is written

	twin bool // it was logged; f.mu guards it

	messages int // since a time; only the reader uses these
	since    time.Time
	reported time.Time // the last receipt

	mu     sync.Mutex
	node   string
	token  string
	subs   map[kv.Key]*sub
	hellos int       // how many were accepted
	heard  time.Time // the last message
	rights rights
	outbox
	slow       bool   // the agent does not read what the hub sends
	noReceipts string // why the node may not report
	there      bool   // it counts as a connection of the node
	probe      bool   // it only asks
	labels     map[string]string
	rollouts   bool // the agent knows candidates
}

// sub is what an agent gets of one key. The session's mu guards it.
type sub struct {
	key   kv.Key
	files map[string]string           // path of a lock's row → the file, as the agent names it; constant
	has   string                      // SHA-256 of the data that the agent has
	used  bool                        // it holds the key in use in the feed
	begun bool                        // the first snapshot is being read
	ready bool                        // the first snapshot, from a read begun after the hello, has been read
	dirty bool                        // there is something to send
	sent  weak.Pointer[feed.Snapshot] // the snapshot that was sent last; zero: none, or an error
	// on is the ID of the rollout whose candidate the agent has, as its hello says, and offered that of the candidate that was sent
	// last; "": none. offered is unsure if another version may be on its way.
	on, offered string
	probed      bool // a target has a probe
	// denied is why the agent gets no snapshot: its token, as checked last.
	denied string
	told   bool // the denial was put into the outbox
}

// Refusal ends a session with a word for the agent. Options.Rights may return one.
type Refusal struct {
	Reason wire.Reason
	Says   string // one line, with a remedy
}

func (r *Refusal) Error() string { return r.Says }

func refuse(reason wire.Reason, format string, args ...any) error {
	return &Refusal{reason, safetext.Cut(fmt.Sprintf(format, args...), kv.MaxReason)}
}

// Serve serves one agent until ctx or its connection ends, and closes the connection. The error is why it ended.
func (f *Fanout) Serve(ctx context.Context, conn wire.Conn) error {
	s := &session{f: f, conn: conn, free: make(chan struct{}, questions), heard: time.Now()}
	s.ctx, s.end = context.WithCancelCause(ctx)
	err := f.enter(s)
	if err == nil {
		err = s.listen() //nolint:contextcheck // s.ctx is of ctx
	}
	f.leave(s)
	if r := (*Refusal)(nil); errors.As(err, &r) {
		s.refuse(r)
		<-s.ctx.Done() // the refusal is sent, or the agent does not read it
	}
	s.end(err)
	_ = conn.Close() // it may be closed already
	s.mu.Lock()
	s.over = true // no writer starts any more
	s.mu.Unlock()
	s.jobs.Wait()
	if s.slow { // no goroutine is left
		f.mu.Lock()
		f.counts.Slow++
		f.mu.Unlock()
	}
	return err
}

// refuse tells the agent why its session ends, and ends it.
func (s *session) refuse(r *Refusal) {
	s.f.mu.Lock()
	s.f.counts.Refused++
	s.f.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bye(r)
}

// bye ends the session after a refusal; mu is held.
func (s *session) bye(r *Refusal) {
	s.last = r
	s.queue(wire.FromHub{Refused: &wire.Refused{Reason: r.Reason, Says: r.Says}})
}

// listen reads the messages of the agent.
func (s *session) listen() error {
	first, cancel := context.WithTimeout(s.ctx, wire.HelloTime)
	defer cancel()
	m, err := s.read(first)
	if err != nil {
		return err
	}
	if m.Hello == nil {
		return refuse(wire.Invalid, "the first message is not a hello")
	}
	if err := s.hello(m.Hello); err != nil {
		return err
	}
	for next := time.Now().Add(helloEvery); ; {
		m, err := s.read(s.ctx)
		switch {
		case err != nil:
			return err
		case m.Hello != nil && time.Now().Before(next):
			return refuse(wire.Busy, "more than one hello within %s", helloEvery)
		case m.Hello != nil:
			next = time.Now().Add(helloEvery)
			if err := s.hello(m.Hello); err != nil {
				return err
			}
		case m.Confirm != nil:
			if err := s.confirm(*m.Confirm); err != nil {
				return err
			}
		case m.Health != nil:
			s.health(*m.Health)
		case m.Beat != nil:
			s.answerBeat(m.Beat.ID)
		case m.Receipt != nil && s.f.o.Receipts != nil:
			if err := s.receipt(m.Receipt); err != nil {
				return err
			}
		}
	}
}

func (s *session) read(ctx context.Context) (wire.FromAgent, error) {
	b, err := s.conn.Read(ctx)
	if err != nil {
		if cause := context.Cause(s.ctx); cause != nil { //nolint:contextcheck // ctx is of it
			err = cause
		}
		return wire.FromAgent{}, err
	}
	now := time.Now()
	s.mu.Lock()
	s.heard = now
	s.mu.Unlock()
	if s.messages++; now.Sub(s.since) > time.Second {
		s.messages, s.since = 0, now
	} else if s.messages > perSecond {
		_ = wait.For(ctx, time.Second) // the next read asks ctx
	}
	m, err := wire.DecodeFromAgent(b)
	if err != nil {
		return m, refuse(wire.Invalid, "%v", err)
	}
	return m, nil
}

// receipt takes a receipt. An agent that sends many waits.
func (s *session) receipt(b []byte) error {
	if err := wait.For(s.ctx, time.Until(s.reported.Add(receiptEvery))); err != nil {
		return err
	}
	s.reported = time.Now()
	var p fleet.Part
	if len(b) > wire.MaxReceipt {
		return refuse(wire.Invalid, "a receipt has %d bytes; at most %d are allowed", len(b), wire.MaxReceipt)
	} else if err := json.Unmarshal(b, &p); err != nil {
		return refuse(wire.Invalid, "a receipt cannot be read: %v", err)
	}
	s.mu.Lock()
	node, why := s.node, s.noReceipts
	s.mu.Unlock()
	if why == "" {
		if err := s.f.o.Receipts.Put(node, p, len(b)); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		s.send(wire.FromHub{Failed: &wire.Failed{Reason: wire.Denied, Says: safetext.Joined(why, kv.MaxReason)}})
	}
	return nil
}

func (s *session) heardAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// confirm answers a question, in a goroutine of its own.
func (s *session) confirm(c wire.Confirm) error {
	k, err := kv.ParseKey(c.Key)
	if err != nil || c.ID == 0 {
		return refuse(wire.Invalid, "a question has no valid key or number")
	}
	select {
	case s.free <- struct{}{}:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	s.jobs.Go(func() {
		s.mu.Lock()
		failed := s.cannot(k)
		s.mu.Unlock()
		var snap *feed.Snapshot
		if failed == nil {
			consistency := kv.Default
			if c.Consistent {
				consistency = kv.Consistent
			}
			if snap, err = s.f.o.Feed.Confirm(s.ctx, k, consistency, c.Data); err == nil {
				err = snap.Err
			}
			if err != nil {
				reason, says := reasonOf(err)
				failed = &wire.Failed{Reason: reason, Says: says}
			}
		}
		s.answer(k, snap, c, failed)
	})
	return nil
}

// cannot is why a question about a key is not answered; nil if it is. mu is held.
func (s *session) cannot(k kv.Key) *wire.Failed {
	switch u := s.subs[k]; {
	case u == nil:
		return &wire.Failed{Reason: wire.Invalid, Says: "the hello does not name this key"}
	case u.denied != "":
		return &wire.Failed{Reason: wire.Denied, Says: u.denied}
	case s.rights.failed != nil:
		return &wire.Failed{Reason: wire.Unreachable, Says: "the rights of the token cannot be checked: " + s.rights.failed.Error()}
	}
	return nil
}

// reasonOf is what an agent is told of an error of the feed.
func reasonOf(err error) (wire.Reason, string) {
	says := safetext.Joined(err.Error(), kv.MaxReason)
	if errors.Is(err, kv.ErrDenied) {
		return wire.Denied, "the hub's token: " + says
	}
	return wire.Unreachable, says
}

// clock is a reading of the hub's clock.
func (f *Fanout) clock(t time.Time) int64 { return wire.Clock(f.start, t) }

var _ Feed = (*feed.Feed)(nil)
