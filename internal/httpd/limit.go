package httpd

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// limiter is a listener with limits of connections, in all and for each client. A client that has too many loses the one
// that was idle for longest; if each of them has a request, the new one is closed.
type limiter struct {
	net.Listener
	o Options

	mu      sync.Mutex
	open    int
	clients map[string]int // their connections
	idle    list.List      // of *conn, the longest idle one first
	told    time.Time      // when the log was told of too many
}

// local is the client of all connections from this machine.
const local = "this machine"

// conn is a connection that counts until it is closed.
type conn struct {
	net.Conn
	limiter *limiter
	client  string
	waits   *list.Element // in idle; nil while it has a request
	gone    bool
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
			_ = surplus.Conn.Close() // it is one too many, and nothing of it is lost
		}
		if surplus != c {
			return c, nil
		}
	}
}

// clientOf is who has a connection: an address, or this machine.
func clientOf(c net.Conn) string {
	addr, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || addr.IP.IsLoopback() {
		return local
	}
	return addr.IP.String()
}

// enter counts a connection, and returns the one that has to go for it: c itself if all others are in use.
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
			c.gone = true
			return c
		}
		l.leave(surplus)
	}
	l.open++
	l.clients[c.client]++
	c.waits = l.idle.PushBack(c)
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
		l.o.Log.Warn("too many connections: new ones are closed", "client", client, "connections", l.clients[client], "all", l.open)
	}
}

// leave ends the counting of a connection.
func (l *limiter) leave(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	l.open--
	if l.clients[c.client]--; l.clients[c.client] == 0 {
		delete(l.clients, c.client)
	}
	l.busy(c)
}

func (l *limiter) busy(c *conn) {
	if c.waits != nil {
		l.idle.Remove(c.waits)
		c.waits = nil
	}
}

// note hears from net/http what a connection does.
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
	case c.gone:
	case state == http.StateActive:
		l.busy(c)
	case state == http.StateIdle:
		c.waits = l.idle.PushBack(c)
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
