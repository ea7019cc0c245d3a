// Package dns asks one DNS server for the IPv4 addresses of one name, over UDP,
// and believes nothing but an answer to that very question.
//
// A resolver hides what the lab wants to know: it asks again, takes the next
// server, keeps answers. Here one question is one datagram, and what came of it
// is what the caller gets.
//
// It imports nothing of this module, and is no part of the kvexpress binary.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// limit is the longest that one question waits for its answer: a server on the
// same machine that says nothing for that long is stopped or overloaded.
const limit = time.Second

// maxAnswer is the most bytes of a datagram that are read. Without EDNS, which is
// not asked for, a server sends no more than 512.
const maxAnswer = 4096

// Answer is what the server says of a name.
type Answer struct {
	// Addrs are the name's own IPv4 addresses, sorted, each once. Records of other
	// types and names, as those behind a CNAME, are left out.
	Addrs []netip.Addr
	// Exists is false when there is no such name (NXDOMAIN), or none with an IPv4
	// address.
	Exists bool
}

// Client asks one server, one question at a time. It is for one goroutine.
type Client struct {
	server netip.AddrPort
	conn   net.Conn // nil after a failed question: its late answer or refusal must not meet the next one
	buf    [maxAnswer]byte
}

// Dial returns a Client of the server. Nothing is sent: a server that is not up
// yet is noticed by Ask. Close must be called.
func Dial(ctx context.Context, server netip.AddrPort) (*Client, error) {
	c := &Client{server: server}
	if !server.IsValid() || server.Port() == 0 {
		return nil, fmt.Errorf("dns server %s: give an address and a port, such as 127.0.0.1:53", server)
	}
	return c, c.dial(ctx)
}

func (c *Client) dial(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", c.server.String())
	if err != nil {
		return fmt.Errorf("dns server %s: %w", c.server, err)
	}
	c.conn = conn
	return nil
}

// Close gives the socket back.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	if err != nil {
		return fmt.Errorf("dns server %s: %w", c.server, err)
	}
	return nil
}

// Ask asks for the IPv4 addresses of a name, with or without its last dot, and
// waits for at most a second, or until the context ends. What is no answer to the
// question is ignored: another id or question, a truncated or malformed message.
//
// Without an answer in time the error is os.ErrDeadlineExceeded, or the context's;
// without a server, syscall.ECONNREFUSED. A server that cannot or will not answer
// (SERVFAIL, REFUSED, …) is an error that names the code. After each of them Ask
// can be called again.
func (c *Client) Ask(ctx context.Context, name string) (Answer, error) {
	q, err := ask(name)
	if err != nil {
		return Answer{}, fmt.Errorf("dns question for %q: %w", name, err)
	}
	a, err := c.exchange(ctx, q)
	if err != nil {
		return Answer{}, fmt.Errorf("dns server %s, asked for %s: %w", c.server, name, err)
	}
	return a, nil
}

func (c *Client) exchange(ctx context.Context, q query) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return Answer{}, err
		}
	}
	reply, err := c.send(ctx, q)
	if err != nil {
		return Answer{}, errors.Join(err, c.Close())
	}
	if reply.code != dnsmessage.RCodeSuccess && reply.code != dnsmessage.RCodeNameError {
		return Answer{}, fmt.Errorf("it answered %s", codeName(reply.code))
	}
	return reply.Answer, nil
}

// send sends the question and returns the first reply that is one to it.
func (c *Client) send(ctx context.Context, q query) (reply, error) {
	deadline := time.Now().Add(limit)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return reply{}, err
	}
	conn, done := c.conn, make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only on a closed socket, which waits for nothing
	})
	defer func() {
		if !stop() {
			<-done
		}
	}()
	_, err := conn.Write(q.wire)
	for err == nil {
		var n int
		if n, err = conn.Read(c.buf[:]); err != nil {
			break
		}
		if r, ok := parse(c.buf[:n], q); ok {
			return r, nil
		}
	}
	if ended := ctx.Err(); ended != nil {
		return reply{}, fmt.Errorf("%w (%w)", err, ended)
	}
	return reply{}, err
}
