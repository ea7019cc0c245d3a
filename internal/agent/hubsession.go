package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wire"
)

// errOver ends the questions of a session.
var errOver = errors.New("the connection to the hub ended")

// session is the connection to one hub. The source's mu guards what changes.
type session struct {
	source *hubSource
	conn   wire.Conn
	addr   string
	since  time.Time
	out    chan []byte
	ctx    context.Context // of the connection; its cause is why it ended
	end    context.CancelCauseFunc
	leave  chan time.Duration // holds one: the hub wants the agent to move within this time

	clocks    clocks
	confirmed time.Time // when the hub last confirmed what it knows
	agents    int       // of the hub
	receipts  bool      // the hub takes receipts
	noReceipt string    // why it does not take those of this node; "" if it does
	last      wire.Hello
	sent      []greeting // hellos without an answer
	helloAt   time.Time
	files     map[kv.Key][]string // of the last hello that was answered: locks go by them
	questions map[uint64]*asked   // without an answer
	id        uint64              // of the last question
}

// asked is a question that was sent.
type asked struct {
	wire.Confirm
	at     time.Time
	answer chan reply // holds one
}

type reply struct {
	rows kv.Snapshot
	err  error
}

// refusedError: the hub refuses this agent.
type refusedError struct{ *wire.Refused }

func (e *refusedError) Error() string {
	return fmt.Sprintf("the hub refuses this agent (%s): %s", oneLine(string(e.Reason)), oneLine(safetext.Redact(e.Says)))
}

// open connects to a hub, and returns after its welcome. Nothing else has been read then.
func (h *hubSource) open(ctx context.Context, addr string) (*session, error) {
	h.mu.Lock()
	dial := h.uplink.Dial
	h.mu.Unlock()
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	s := &session{
		source: h, conn: conn, addr: addr, out: make(chan []byte, 16), leave: make(chan time.Duration, 1),
		questions: map[uint64]*asked{},
	}
	if err := s.begin(ctx); err != nil {
		_ = conn.Close() // nothing else is lost
		return nil, fmt.Errorf("the hub %s: %w", addr, err)
	}
	return s, nil
}

// begin sends the hello, and reads until the welcome.
func (s *session) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wire.HelloTime)
	defer cancel()
	hello, files, err := s.source.hello()
	if err != nil {
		return err
	}
	message, err := wire.Encode(wire.FromAgent{Hello: &hello})
	if err != nil {
		return err
	}
	now := time.Now()
	s.last, s.helloAt, s.sent = hello, now, []greeting{{now, files}}
	if err := s.conn.Write(ctx, message); err != nil {
		return err
	}
	for s.files == nil {
		m, err := s.read(ctx)
		switch {
		case err != nil:
			return err
		case m.Refused != nil:
			return &refusedError{m.Refused}
		case m.Welcome != nil:
			s.welcome(m.Welcome, time.Now())
		}
	}
	return nil
}

func (s *session) read(ctx context.Context) (wire.FromHub, error) {
	b, err := s.conn.Read(ctx)
	if err != nil {
		return wire.FromHub{}, err
	}
	return wire.DecodeFromHub(b)
}

// welcome takes the answer to a hello.
func (s *session) welcome(m *wire.Welcome, now time.Time) {
	if len(s.sent) == 0 {
		return
	}
	first := s.sent[0]
	s.sent, s.files, s.agents = s.sent[1:], first.files, m.Agents
	s.receipts, s.noReceipt = m.Receipts, m.NoReceipts
	s.clocks.answered(first.at, now, m.Now)
	s.aged(m.Age, now)
}

// aged notes how old the hub says that its knowledge is.
func (s *session) aged(ms int64, now time.Time) {
	s.confirmed = now.Add(-time.Duration(max(0, ms)) * time.Millisecond)
}

// start serves the session until ctx or the connection ends.
func (s *session) start(ctx context.Context) {
	ctx, s.end = context.WithCancelCause(ctx)
	s.ctx = ctx
	go s.write(ctx)
	go func() {
		s.end(s.listen(ctx))
		_ = s.conn.Close() // it may be closed already
		s.source.lost(s)
	}()
}

// cause is why the session ended.
func (s *session) cause() error { return context.Cause(s.ctx) }

// listen reads what the hub sends.
func (s *session) listen(ctx context.Context) error {
	for {
		limited, cancel := context.WithTimeoutCause(ctx, wire.SilentFor, errors.New("the hub is silent"))
		m, err := s.read(limited)
		switch {
		case err != nil && limited.Err() != nil:
			err = context.Cause(limited)
		case errors.Is(err, io.EOF):
			err = errors.New("the hub ended the connection")
		}
		cancel()
		if err != nil {
			return err
		}
		if err := s.handle(m, time.Now()); err != nil {
			return err
		}
	}
}

func (s *session) handle(m wire.FromHub, now time.Time) error {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	switch {
	case m.Refused != nil:
		return &refusedError{m.Refused}
	case m.Welcome != nil:
		s.welcome(m.Welcome, now)
	case m.Beat != nil:
		if m.Beat.ID > 0 {
			s.clocks.answered(s.since.Add(micros(m.Beat.ID)), now, m.Beat.Now)
		}
		s.aged(m.Beat.Age, now)
	case m.Leave != nil:
		select {
		case s.leave <- time.Duration(max(0, m.Leave.Within)) * time.Millisecond:
		default: // it leaves
		}
	case m.Failed != nil && m.Failed.ID == 0:
		s.noReceipt = m.Failed.Says
		s.source.tell()
	case m.Failed != nil:
		if q := s.answered(m.Failed.ID); q != nil {
			q.answer <- reply{err: s.source.failed(q.Key, s.addr, m.Failed.Reason, m.Failed.Says)}
		}
	case m.Snapshot != nil:
		s.snapshot(m.Snapshot, now)
	case m.Ask != nil:
		s.source.asked(s, m.Ask)
	}
	return nil
}

// answered is a question that is answered now; nil if there is none. mu is held.
func (s *session) answered(id uint64) *asked {
	q := s.questions[id]
	delete(s.questions, id)
	return q
}

// snapshot takes a snapshot; mu is held.
func (s *session) snapshot(m *wire.Snapshot, now time.Time) {
	q := s.answered(m.ID)
	if q != nil && m.Reason == "" {
		s.clocks.answered(q.at, now, m.Read)
	}
	rows, err := s.source.received(s, m, now)
	if q == nil {
		return
	}
	if data := s.source.layout.Data(kv.Key(m.Key)); q.Data && err == nil && rows[data].State != kv.Present {
		rows[data] = kv.Entry{State: kv.Absent}
	}
	q.answer <- reply{rows, err}
}

// ask asks the hub for a snapshot from after the call, until ctx ends. The error is errOver if the connection ended.
func (s *session) ask(ctx context.Context, question wire.Confirm) (kv.Snapshot, error) {
	h := s.source
	h.mu.Lock()
	s.id++
	question.ID = s.id
	q := &asked{question, time.Now(), make(chan reply, 1)}
	s.questions[question.ID] = q
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(s.questions, question.ID)
	}()
	if err := s.send(ctx, wire.FromAgent{Confirm: &question}); err != nil {
		return nil, err
	}
	select {
	case r := <-q.answer:
		return r.rows, r.err
	case <-s.ctx.Done():
		return nil, errOver
	case <-ctx.Done():
		return nil, h.failed(question.Key, s.addr, wire.Unreachable, context.Cause(ctx).Error())
	}
}

// send gives a message to the writer.
func (s *session) send(ctx context.Context, m wire.FromAgent) error {
	b, err := wire.Encode(m)
	if err != nil {
		return err
	}
	select {
	case s.out <- b:
		return nil
	case <-s.ctx.Done():
		return errOver
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write sends messages, and beats, until the session ends.
func (s *session) write(ctx context.Context) {
	ticker := time.NewTicker(wire.BeatEvery)
	defer ticker.Stop()
	var err error
	for err == nil {
		var message []byte
		select {
		case <-ctx.Done():
			return
		case message = <-s.out:
		case <-ticker.C:
			s.source.refreshToken(s)
			if message, err = wire.Encode(wire.FromAgent{Beat: &wire.Beat{ID: time.Since(s.since).Microseconds()}}); err != nil {
				continue
			}
		}
		limited, cancel := context.WithTimeout(ctx, wire.SilentFor)
		err = s.conn.Write(limited, message)
		cancel()
	}
	s.end(err)
}
