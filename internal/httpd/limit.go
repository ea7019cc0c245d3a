package httpd

import (
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
	conns   map[*conn]time.Time // when each became idle; zero during a request
	clients map[string]int      // their connections
	told    time.Time           // last warning in the log
}

// local is the client of all connections from this machine.
const local = "this machine"

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	limiter *limiter
	client  string
}

func limit(l net.Listener, o Options) *limiter {
	return &limiter{Listener: l, o: o, conns: map[*conn]time.Time{}, clients: map[string]int{}}
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
	full, now := most > 0 && l.clients[c.client] >= most, time.Now()
	if full || l.o.Conns > 0 && len(l.conns) >= l.o.Conns {
		longest := now
		for other, idle := range l.conns {
			if !idle.IsZero() && !idle.After(longest) && (!full || other.client == c.client) {
				surplus, longest = other, idle
			}
		}
		if surplus == nil {
			if l.o.Log != nil && now.Sub(l.told) > time.Minute {
				l.told = now
				l.o.Log.Warn("too many connections; closing new ones", "client", c.client, "connections", l.clients[c.client],
					"all", len(l.conns))
			}
			return c
		}
		l.leave(surplus)
	}
	l.conns[c] = now
	l.clients[c.client]++
	return surplus
}

// leave stops counting a connection.
func (l *limiter) leave(c *conn) {
	if _, open := l.conns[c]; !open {
		return
	}
	delete(l.conns, c)
	if l.clients[c.client]--; l.clients[c.client] == 0 {
		delete(l.clients, c.client)
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
	_, open := l.conns[c]
	switch {
	case !open:
	case state == http.StateActive:
		l.conns[c] = time.Time{}
	case state == http.StateIdle:
		l.conns[c] = time.Now()
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
