//go:build linux

package hub

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// line is a TCP proxy. It keeps what the server sends, and can be cut and held.
type line struct {
	addr string

	mu    sync.Mutex
	free  *sync.Cond
	to    string
	conns map[net.Conn]bool
	down  bool // new connections end at once
	held  bool // nothing passes, and connections stay
	got   strings.Builder
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &line{addr: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	p.free = sync.NewCond(&p.mu)
	t.Cleanup(func() {
		_ = l.Close()
		p.hold(false)
		p.cut()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.carry(c)
		}
	}()
	return p
}

func (p *line) carry(c net.Conn) {
	p.mu.Lock()
	down, to := p.down, p.to
	p.mu.Unlock()
	if down {
		_ = c.Close()
		return
	}
	s, err := net.Dial("tcp", to)
	if err != nil {
		_ = c.Close()
		return
	}
	p.mu.Lock()
	p.conns[c], p.conns[s] = true, true
	if p.down { // cut meanwhile
		_, _ = c.Close(), s.Close()
	}
	p.mu.Unlock()
	go p.copy(s, c, false)
	p.copy(c, s, true)
}

// copy passes bytes on until one of the connections ends, and ends both.
func (p *line) copy(to, from net.Conn, keep bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, to)
		delete(p.conns, from)
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for p.held {
			p.free.Wait()
		}
		if keep {
			p.got.Write(b[:n])
		}
		p.mu.Unlock()
		if _, werr := to.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}

// cut ends all connections, and those that begin until mend.
func (p *line) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// mend ends a cut. The server may have moved.
func (p *line) mend(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.to = false, to
}

// hold lets nothing pass while on.
func (p *line) hold(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = on
	p.free.Broadcast()
}

// passed is what the server has sent.
func (p *line) passed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String()
}
