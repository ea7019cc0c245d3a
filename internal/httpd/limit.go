package httpd

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// limiter is a listener with limits of connections, in total and for each client. At a limit it closes the connection that
// has been idle longest, or, if none is idle, the new one.
type limiter struct {
	net.Listener
	o Options

	mu      sync.Mutex
	open    int
	clients map[string]int // their connections
	idle    list.List      // of *conn, the longest idle one first
	told    time.Time      // last warning in the log
}

// local is the client of all connections from this machine.
const local = "this machine"

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	limiter *limiter
	client  string
	idle    *list.Element // in limiter.idle; nil during a request
	closed  bool
}

func limit(l net.Listener, o Options) *limiter {
	return &limiter{Listener: l, o: o, clients: map[string]int{}}
}

// Accept implements net.Listener.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, limiter: l, client: clientOf(raw)}
		surplus := l.enter(c)
		if surplus != nil {
			_ = surplus.Conn.Close() // no request is lost: it is idle or new
		}
		if surplus != c {
			return c, nil
		}
	}
}

// clientOf is the address of a client, or local.
func clientOf(c net.Conn) string {
	addr, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || addr.IP.IsLoopback() {
		return local
	}
	return addr.IP.String()
}

// enter counts a connection. At a limit it returns the connection to close: c itself if no other is idle.
func (l *limiter) enter(c *conn) (surplus *conn) {
	most := l.o.PerClient
	if c.client == local {
		most = l.o.Local
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ofClient := most > 0 && l.clients[c.client] >= most
	if ofClient || l.o.Conns > 0 && l.open >= l.o.Conns {
		if surplus = l.longestIdle(c.client, ofClient); surplus == nil {
			l.tell(c.client)
			c.closed = true
			return c
		}
		l.leave(surplus)
	}
	l.open++
	l.clients[c.client]++
	c.idle = l.idle.PushBack(c)
	return surplus
}

func (l *limiter) longestIdle(client string, ofClient bool) *conn {
	for e := l.idle.Front(); e != nil; e = e.Next() {
		if c, ok := e.Value.(*conn); ok && (!ofClient || c.client == client) {
			return c
		}
	}
	return nil
}

func (l *limiter) tell(client string) {
	if now := time.Now(); l.o.Log != nil && now.Sub(l.told) > time.Minute {
		l.told = now
		l.o.Log.Warn("too many connections; closing new ones", "client", client, "connections", l.clients[client], "all", l.open)
	}
}

// leave stops counting a connection.
func (l *limiter) leave(c *conn) {
	if c.closed {
		return
	}
	c.closed = true
	l.open--
	if l.clients[c.client]--; l.clients[c.client] == 0 {
		delete(l.clients, c.client)
	}
	l.busy(c)
}

func (l *limiter) busy(c *conn) {
	if c.idle != nil {
		l.idle.Remove(c.idle)
		c.idle = nil
	}
}

// note is called by net/http when the state of a connection changes.
func (l *limiter) note(nc net.Conn, state http.ConnState) {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.closed:
	case state == http.StateActive:
		l.busy(c)
	case state == http.StateIdle:
		c.idle = l.idle.PushBack(c)
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.limiter.leave(c)
	return err
}
