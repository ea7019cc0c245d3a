// Package memnet is a network in memory, for tests and simulations in a testing/synctest bubble: connections that delay, cut
// and hold messages. Messages of one connection stay in order, as in TCP; those of several connections do not. It imports wire.
package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"kvexpress/internal/wire"
)

// window is how many messages a direction holds before Write blocks, as the buffers of TCP do.
const window = 16

// ErrCut ends a connection that was cut.
var ErrCut = errors.New("the connection was cut")

// Pair is one connection with both of its ends.
type Pair struct {
	Agent, Hub wire.Conn
	Names      []string // in the certificate of the agent
	// Delay is how long a message takes; nil: no time. Messages stay in order.
	Delay func() time.Duration
	// ToAgent and ToHub hold the messages to an end while one of them is shut. Several connections may share a gate. They are
	// set before the first message.
	ToAgent, ToHub []*Gate

	once, closing sync.Once
	cut, closed   chan struct{}
}

// New makes a connection.
func New(delay func() time.Duration) *Pair {
	p := &Pair{cut: make(chan struct{}), closed: make(chan struct{}), Delay: delay}
	up, down := make(chan message, window), make(chan message, window)
	p.Agent = &end{pair: p, in: down, out: up, gates: &p.ToAgent, peer: "hub"}
	p.Hub = &end{pair: p, in: up, out: down, gates: &p.ToHub, peer: "agent"}
	return p
}

// Cut ends the connection: what is under way is lost.
func (p *Pair) Cut() { p.once.Do(func() { close(p.cut) }) }

// Gate holds messages while it is shut, as the buffers of a stopped process or of a network that lost its way. Its zero value is
// open.
type Gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil: it is open
}

// Shut holds messages from now on.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

// Open lets all messages pass.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// Opened is closed when the gate opens; nil if it is open.
func (g *Gate) Opened() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

type message struct {
	at time.Time // of its arrival
	b  []byte
}

type end struct {
	pair  *Pair
	in    <-chan message
	out   chan<- message
	gates *[]*Gate
	peer  string
	last  time.Time // arrival of the last message that was written
}

func (e *end) Peer() string { return e.peer }

// Names implements wire.Conn. They are those of the Pair.
func (e *end) Names() []string { return e.pair.Names }

// Close ends the connection as TCP does: the other side still reads what was written before.
func (e *end) Close() error {
	e.pair.closing.Do(func() { close(e.pair.closed) })
	return nil
}

func (e *end) Read(ctx context.Context) ([]byte, error) {
	if err := e.pass(ctx); err != nil {
		return nil, err
	}
	var m message
	select {
	case m = <-e.in:
	default:
		select {
		case m = <-e.in:
		case <-e.pair.cut:
			return nil, ErrCut
		case <-e.pair.closed:
			select {
			case m = <-e.in: // it was written before
			default:
				return nil, io.EOF
			}
		case <-ctx.Done():
			return nil, e.ended(ctx)
		}
	}
	timer := time.NewTimer(time.Until(m.at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return m.b, e.pass(ctx)
	case <-e.pair.cut:
		return nil, ErrCut
	case <-ctx.Done():
		return nil, e.ended(ctx)
	}
}

// pass waits until all gates are open.
func (e *end) pass(ctx context.Context) error {
	for _, g := range *e.gates {
		for opened := g.Opened(); opened != nil; opened = g.Opened() {
			select {
			case <-opened:
			case <-e.pair.cut:
				return ErrCut
			case <-ctx.Done():
				return e.ended(ctx)
			}
		}
	}
	return nil
}

// ended closes the connection after a context ended.
func (e *end) ended(ctx context.Context) error {
	e.pair.Cut()
	return context.Cause(ctx)
}

func (e *end) Write(ctx context.Context, b []byte) error {
	at := time.Now()
	if e.pair.Delay != nil {
		at = at.Add(e.pair.Delay())
	}
	if at.Before(e.last) {
		at = e.last
	}
	e.last = at
	select {
	case <-e.pair.cut:
		return ErrCut
	case <-e.pair.closed:
		return net.ErrClosed
	default:
	}
	select {
	case e.out <- message{at, b}:
		return nil
	case <-e.pair.cut:
		return ErrCut
	case <-e.pair.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return e.ended(ctx)
	}
}
