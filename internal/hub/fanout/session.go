package fanout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
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
	free chan struct{} // places for questions

	twin bool // it was logged; f.mu guards it

	count   int // messages since counted; only the reader uses both
	counted time.Time

	mu     sync.Mutex
	node   string
	token  string
	subs   map[kv.Key]*sub
	heard  time.Time // the last message
	rights rights
	outbox
	noReceipts string // why the node may not report
}

// sub is what an agent gets of one key. The session's mu guards it.
type sub struct {
	key   kv.Key
	files map[string]string           // path of a lock's row → the file, as the agent names it; constant
	has   string                      // SHA-256 of the data that the agent has
	ready bool                        // the first snapshot, from a read begun after the hello, has been read
	dirty bool                        // there is something to send
	sent  weak.Pointer[feed.Snapshot] // the snapshot that was sent last; zero: none, or an error
	// denied is why the agent gets no snapshot: its token, as checked last.
	denied string
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
	s.writing = true // no writer starts any more
	s.mu.Unlock()
	s.jobs.Wait()
	return err
}

// refuse tells the agent why its session ends, and ends it.
func (s *session) refuse(r *Refusal) {
	s.f.mu.Lock()
	s.f.counts.Refused++
	s.f.mu.Unlock()
	s.mu.Lock()
	s.last = r
	s.mu.Unlock()
	s.send(wire.FromHub{Refused: &wire.Refused{Reason: r.Reason, Says: r.Says}})
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
	if s.count++; now.Sub(s.counted) > time.Second {
		s.count, s.counted = 0, now
	} else if s.count > perSecond {
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
		s.fail(0, wire.Denied, why)
	}
	return wait.For(s.ctx, receiptEvery)
}

func (s *session) heardAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// hello accepts a hello: it checks names and rights, and sends a first snapshot of each key.
func (s *session) hello(h *wire.Hello) error {
	subs, err := s.f.subscriptions(h)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.token = h.Token
	s.mu.Unlock()
	denied, err := s.f.check(s.ctx, h.Token, h.Node, subs)
	if errors.Is(err, errToken) {
		return unknownToken(h.Node)
	} else if r := (*Refusal)(nil); errors.As(err, &r) {
		return r
	}
	now := time.Now()
	s.mu.Lock()
	s.rights.checked(now, err)
	s.noReceipts = denied[""]
	s.mu.Unlock()
	denied.apply(subs)
	s.f.subscribe(s, h.Node, subs)
	s.f.mu.Lock()
	s.f.counts.Accepted++
	agents := len(s.f.sessions)
	s.f.mu.Unlock()
	s.send(wire.FromHub{Welcome: &wire.Welcome{Hub: s.f.o.Name, Version: s.f.o.Version, Now: s.f.clock(now), Agents: agents,
		Age: s.f.o.Feed.Age().Milliseconds(), Receipts: s.f.o.Receipts != nil, NoReceipts: denied[""]}})
	for _, sub := range subs {
		s.jobs.Go(func() { s.first(sub) })
	}
	return nil
}

// subscriptions checks a hello, and returns what it asks for.
func (f *Fanout) subscriptions(h *wire.Hello) (map[kv.Key]*sub, error) {
	switch l, err := kv.NewLayout(h.Prefix); {
	case err != nil || l != f.o.Layout:
		return nil, refuse(wire.Invalid, "the prefix of this hub is %s, and that of the agent %s; set prefix in agent.yml or hub.yml",
			kv.Quote(f.o.Layout.Prefix()), kv.Quote(h.Prefix))
	case h.Datacenter != "" && f.o.Datacenter == "":
		return nil, refuse(wire.Invalid,
			"the agent wants the datacenter %s, and this hub does not know its own; set datacenter in hub.yml",
			kv.Quote(h.Datacenter))
	case h.Datacenter != "" && h.Datacenter != f.o.Datacenter:
		return nil, refuse(wire.Invalid, "the datacenter of this hub is %s, and that of the agent %s; check hubs in agent.yml",
			kv.Quote(f.o.Datacenter), kv.Quote(h.Datacenter))
	}
	if _, err := kv.ParseNode(h.Node); err != nil {
		return nil, refuse(wire.Invalid, "%v; set node in agent.yml", err)
	}
	if h.Host == "" || len(h.Host) > kv.MaxNodeLen || strings.ContainsAny(h.Host, "/\x00") {
		return nil, refuse(wire.Invalid, "the host name %s is no host name", kv.Quote(h.Host))
	}
	if len(h.Targets) > wire.MaxTargets {
		return nil, refuse(wire.Invalid, "the node has %d targets; a hub serves at most %d", len(h.Targets), wire.MaxTargets)
	}
	if err := checkLabels(h.Labels); err != nil {
		return nil, err
	}
	subs := map[kv.Key]*sub{}
	for _, t := range h.Targets {
		k, err := kv.ParseKey(t.Key)
		if err != nil || string(k) != t.Key {
			return nil, refuse(wire.Invalid, "%s is not the name of a key", kv.Quote(t.Key))
		}
		if len(t.Files) == 0 || len(t.Files) > maxFiles {
			return nil, refuse(wire.Invalid, "the target of %s has %d paths; it must have 1 to %d", t.Key, len(t.Files), maxFiles)
		}
		if t.SHA256 != "" && !kv.IsSHA256(t.SHA256) {
			return nil, refuse(wire.Invalid, "the target of %s has no valid SHA-256", t.Key)
		}
		u := subs[k]
		if u == nil {
			u = &sub{key: k, files: map[string]string{}, has: t.SHA256}
			subs[k] = u
		} else if u.has != t.SHA256 {
			u.has = "" // one of the files needs the data
		}
		for _, file := range t.Files {
			if !path.IsAbs(file) || len(file) > maxPath {
				return nil, refuse(wire.Invalid, "%s is not an absolute path", kv.Quote(file))
			}
			u.files[f.o.Layout.Lock(file, h.Host)] = file
		}
	}
	return subs, nil
}

// maxPath is the longest path in Linux, in bytes.
const maxPath = 4096

func checkLabels(labels map[string]string) error {
	if len(labels) > wire.MaxLabels {
		return refuse(wire.Invalid, "the node has %d labels; at most %d are allowed", len(labels), wire.MaxLabels)
	}
	for name, value := range labels {
		if name == "" || len(name) > wire.MaxLabel || len(value) > wire.MaxLabel {
			return refuse(wire.Invalid, "the label %s is empty or has more than %d bytes", kv.Quote(name), wire.MaxLabel)
		}
	}
	return nil
}

// first reads the first snapshot of a key: consistent, and begun after the hello. Until the store answers, the agent gets
// none, and keeps what it knows.
func (s *session) first(u *sub) {
	for n := 0; ; n++ {
		_, err := s.f.o.Feed.Confirm(s.ctx, u.key, kv.Consistent, false)
		if err == nil {
			s.mu.Lock()
			u.ready = true
			s.mu.Unlock()
			s.changed(u.key)
			return
		}
		if s.pause(n) != nil {
			return
		}
	}
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
		defer func() { <-s.free }()
		consistency := kv.Default
		if c.Consistent {
			consistency = kv.Consistent
		}
		s.mu.Lock()
		u, paused := s.subs[k], s.rights.failed
		denied := ""
		if u != nil {
			denied = u.denied
		}
		s.mu.Unlock()
		switch {
		case u == nil:
			s.fail(c.ID, wire.Invalid, "the hello does not name this key")
			return
		case denied != "":
			s.fail(c.ID, wire.Denied, denied)
			return
		case paused != nil:
			s.fail(c.ID, wire.Unreachable, "the rights of the token cannot be checked: "+paused.Error())
			return
		}
		snap, err := s.f.o.Feed.Confirm(s.ctx, k, consistency, c.Data)
		if err == nil {
			err = snap.Err
		}
		if err != nil {
			reason, says := reasonOf(err)
			s.fail(c.ID, reason, says)
			return
		}
		s.answer(u, snap, c)
	})
	return nil
}

func (s *session) fail(id uint64, reason wire.Reason, says string) {
	s.send(wire.FromHub{Failed: &wire.Failed{ID: id, Reason: reason, Says: safetext.Joined(says, kv.MaxReason)}})
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
