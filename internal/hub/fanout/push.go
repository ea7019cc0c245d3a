package fanout

import (
	"context"
	"errors"
	"time"
	"weak"

	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// writeLimit is how long an agent may take to read one message.
const writeLimit = 30 * time.Second

// maxSmall is how many messages without a key may wait. An agent that lets more wait does not read.
const maxSmall = 2 * questions

// errSlow ends the session of an agent that does not read.
var errSlow = errors.New("the agent does not read what the hub sends")

// outbox has what waits to be sent to an agent: the newest snapshot of each key, read when it is sent. A goroutine writes
// while there is something: a session that is idle has only its reader.
type outbox struct {
	small   []small
	dirty   []*sub // with something to send, in order
	beat    bool   // a beat has no answer
	beatID  int64  // of the last one
	writing bool
	over    bool  // no writer starts any more
	last    error // ends the session after the small messages; nil: it goes on
}

// small is a message without a key, or the answer to a question. The snapshot of an answer is encoded when it is sent.
type small struct {
	message  []byte
	encode   func() ([]byte, error) // in place of message
	question bool                   // it answers one, whose place becomes free once it is written
}

// changed notes that there is a newer snapshot of a key.
func (s *session) changed(k kv.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.subs[k]
	if u == nil || !u.ready {
		return
	}
	s.mark(u)
	s.wake()
}

// mark notes that there is something to send of a key; mu is held.
func (s *session) mark(u *sub) {
	if !u.dirty {
		u.dirty = true
		s.dirty = append(s.dirty, u)
	}
}

// send sends a small message.
func (s *session) send(m wire.FromHub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(m)
}

// queue is send; mu is held.
func (s *session) queue(m wire.FromHub) {
	b, err := wire.Encode(m)
	if err == nil && len(s.small) >= maxSmall {
		s.slow, err = true, errSlow
	}
	if err != nil {
		s.end(err)
		return
	}
	s.small = append(s.small, small{message: b})
	s.wake()
}

// wake starts the writer, if none runs; mu is held.
func (s *session) wake() {
	if !s.writing && !s.over {
		s.writing = true
		s.jobs.Go(s.flush)
	}
}

// flush writes until there is nothing to send. While rights cannot be checked, snapshots wait.
func (s *session) flush() {
	for {
		s.mu.Lock()
		var next small
		var u *sub
		switch {
		case len(s.small) > 0:
			next, s.small = s.small[0], s.small[1:]
		case s.beat:
			s.beat = false
			next.message = s.f.beat(s.beatID)
		case len(s.dirty) > 0 && s.rights.failed == nil:
			u, s.dirty = s.dirty[0], s.dirty[1:]
			u.dirty = false
		}
		last := s.last
		if next.message == nil && next.encode == nil && (u == nil || last != nil) {
			s.small, s.writing = nil, last != nil
			s.mu.Unlock()
			if last != nil {
				s.end(last)
				_ = s.conn.Close() // Read returns
			}
			return
		}
		s.mu.Unlock()
		var err error
		if u != nil {
			next.message = s.push(u)
		} else if next.encode != nil {
			next.message, err = next.encode()
		}
		if err != nil {
			s.end(err)
			return
		}
		if next.message != nil && !s.write(next.message) {
			return
		}
		if next.question {
			<-s.free
		}
	}
}

// write writes one message, or ends the session.
func (s *session) write(message []byte) bool {
	ctx, cancel := context.WithTimeout(s.ctx, writeLimit)
	defer cancel()
	err := s.conn.Write(ctx, message)
	if err == nil {
		return true
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // the connection is closed: the reader may have noticed first
		err = errSlow
		s.mu.Lock()
		s.slow = true
		s.mu.Unlock()
	}
	s.end(err)
	return false
}

// push is the message with the newest snapshot of a key; nil if there is none.
func (s *session) push(u *sub) []byte {
	s.mu.Lock()
	denied, has, sent := u.denied, u.has, u.sent
	u.sent, u.offered = weak.Pointer[feed.Snapshot]{}, unsure
	s.mu.Unlock()
	if denied != "" {
		return s.none(u.key, wire.Denied, denied)
	}
	snap := s.f.o.Feed.Latest(u.key)
	if snap == nil {
		return nil
	}
	snap, ok := s.version(u, snap)
	if !ok {
		return nil // Offered tells
	}
	if weak.Make(snap) == sent { // two updates at once
		s.mu.Lock()
		u.sent, u.offered = sent, snap.Candidate
		s.mu.Unlock()
		return nil
	}
	if snap.Err != nil {
		reason, says := reasonOf(snap.Err)
		return s.none(u.key, reason, says)
	}
	sha := snap.Live.SHA256
	data := sha != has && sha != ""
	if data && !snap.HasData() { // it was too much to keep
		full, err := s.f.o.Feed.Confirm(s.ctx, u.key, kv.Default, true)
		if err != nil {
			reason, says := reasonOf(err)
			return s.none(u.key, reason, says)
		}
		if snap, ok = s.version(u, full); !ok {
			return nil
		}
		sha = snap.Live.SHA256
	}
	s.f.mu.Lock()
	s.f.counts.Pushed++
	s.f.mu.Unlock()
	b, err := s.encode(u, snap, data, 0)
	if err != nil {
		s.end(err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.sent, u.offered = weak.Make(snap), snap.Candidate
	if data {
		u.has = sha
	}
	return b
}

func (s *session) none(k kv.Key, reason wire.Reason, says string) []byte {
	m := wire.Snapshot{Key: string(k), Reason: reason, Says: says, Read: s.f.clock(time.Now())}
	b, err := wire.Encode(wire.FromHub{Snapshot: &m})
	if err != nil {
		s.end(err)
	}
	return b
}

// answer answers a question with a snapshot, or why there is none. A new hello may have come since the question: then the agent
// expects the locks that the new one names.
func (s *session) answer(k kv.Key, snap *feed.Snapshot, c wire.Confirm, failed *wire.Failed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed == nil {
		failed = s.cannot(k)
	}
	a := small{question: true}
	if failed != nil {
		failed.ID, failed.Says = c.ID, safetext.Joined(failed.Says, kv.MaxReason)
		a.encode = func() ([]byte, error) { return wire.Encode(wire.FromHub{Failed: failed}) }
	} else {
		u := s.subs[k]
		a.encode = func() ([]byte, error) {
			if v, ok := s.version(u, snap); ok {
				return s.encode(u, v, c.Data, c.ID)
			}
			return wire.Encode(wire.FromHub{Failed: &wire.Failed{ID: c.ID, Reason: wire.Unreachable,
				Says: "the hub reads the candidate of " + string(k)}})
		}
	}
	s.small = append(s.small, a)
	s.wake()
}

// answerBeat answers a beat of the agent; many at once get one answer.
func (s *session) answerBeat(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beat, s.beatID = true, id
	s.wake()
}

// beat is the answer to a beat. The clock is read after the beat was received.
func (f *Fanout) beat(id int64) []byte {
	b, err := wire.Encode(wire.FromHub{Beat: &wire.Beat{ID: id, Now: f.clock(time.Now()), Age: f.o.Feed.Age().Milliseconds()}})
	if err != nil {
		return nil // two numbers can be encoded
	}
	return b
}

// endSilent ends a session whose agent is silent.
func (s *session) endSilent(now time.Time) {
	if now.Sub(s.heardAt()) > wire.SilentFor {
		s.end(errors.New("the agent is silent"))
		_ = s.conn.Close() // Read returns
	}
}

// leave asks the agent to go.
func (s *session) leave(within time.Duration) {
	s.send(wire.FromHub{Leave: &wire.Leave{Within: within.Milliseconds()}})
}

// pause waits before a request to the store is made again.
func (s *session) pause(failures int) error {
	return wait.For(s.ctx, wait.Backoff{Least: 250 * time.Millisecond, Most: 5 * time.Second}.After(failures))
}
