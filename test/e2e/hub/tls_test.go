//go:build linux

package hub

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/wire"
	"kvexpress/test/e2e"
)

// authorities has a certificate for hub.example, one for 127.0.0.1, and one of a client.
type authorities struct {
	ca, clients     *e2e.Authority
	cert, own, user string
}

func newAuthorities(x *e2e.Site) *authorities {
	x.T.Helper()
	a := &authorities{ca: e2e.NewAuthority(x.T, x.Dir, "ca"), clients: e2e.NewAuthority(x.T, x.Dir, "clients")}
	_, _, a.cert = a.ca.Sign("cert", nil, []string{"hub.example"}, time.Hour)
	_, _, a.own = a.ca.Sign("own", []net.IP{net.IPv4(127, 0, 0, 1)}, nil, time.Hour)
	_, _, a.user = a.clients.Sign("user", nil, []string{"web-1"}, time.Hour)
	return a
}

// A hub with TLS serves agents that trust its authority, expect its name and have a certificate that it trusts. All others
// say what is wrong, and the last good file stays.
func TestTLS(t *testing.T) {
	t.Parallel()
	x := start(t)
	one := x.Machine.Publish(e2e.Text("one", 20))
	a := newAuthorities(x)
	foreign := e2e.NewAuthority(t, x.Dir, "foreign")
	h := x.Hub("hub", "--tls-cert", a.cert, "--tls-key", a.cert+".key", "--tls-client-ca", a.clients.File)
	right := e2e.Fields{"hub_ca": a.ca.File, "hub_server_name": "hub.example", "hub_client_cert": a.user,
		"hub_client_key": a.user + ".key", "direct": false}
	with := func(changes e2e.Fields) e2e.Fields {
		all := e2e.Fields{}
		for _, fields := range []e2e.Fields{right, changes} {
			for k, v := range fields {
				all[k] = v
			}
		}
		return all
	}
	good := node(x, "good", right, h.Addr)
	good.Delivers("good-hosts", one)
	var all sync.WaitGroup
	for name, tt := range map[string]struct {
		fields e2e.Fields
		agent  string
		hub    string
	}{
		"name":      {with(e2e.Fields{"hub_server_name": "other.example"}), "check hub_ca and hub_server_name", "bad certificate"},
		"authority": {with(e2e.Fields{"hub_ca": foreign.File}), "check hub_ca and hub_server_name", "bad certificate"},
		"client": {with(e2e.Fields{"hub_client_cert": "", "hub_client_key": ""}), "set hub_client_cert and hub_client_key",
			"provide a certificate"},
		"plain": {e2e.Fields{"direct": false}, "set hub_ca", "HTTP request to an HTTPS server"},
	} {
		all.Go(func() {
			x.File(name+"-hosts", "last good\n")
			d := node(x, name, tt.fields, h.Addr)
			says(d, "cannot use a hub", h.Addr, tt.agent)
			says(h.Daemon, "TLS handshake", tt.hub)
			x.Holds(name+"-hosts", "last good\n")
			d.Kill()
		})
	}
	all.Wait()
	good.Delivers("good-hosts", x.Machine.Publish(e2e.Text("two", 20)))
	if s := good.Status(); s.Requests > late {
		t.Errorf("%d requests to the store", s.Requests)
	}
}

// fake is a server with a certificate that accepts agents, and keeps what they say.
func fake(t *testing.T, certificate string) *recorder {
	t.Helper()
	r := &recorder{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		fmt.Fprintln(&r.got, q.Header)
		r.conns++
		r.mu.Unlock()
		conn, err := wire.Accept(w, q, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		b, _ := conn.Read(q.Context())
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got.Write(b)
	}))
	pair, err := tls.LoadX509KeyPair(certificate, certificate+".key")
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	r.addr = server.Listener.Addr().String()
	return r
}

const page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"

// A server that is not a verified hub gets no token.
func TestFakeHub(t *testing.T) {
	t.Parallel()
	const token = "5f0c1f5e-7d5c-4a44-9f3b-2f0d6f6f8a51"
	x := start(t)
	x.File("token", token)
	a := newAuthorities(x)
	_, _, foreign := e2e.NewAuthority(t, x.Dir, "foreign").Sign("foreign-cert", []net.IP{net.IPv4(127, 0, 0, 1)}, nil, time.Hour)
	elsewhere := record(t, page)
	fakes := map[string]*recorder{ // by why it is none
		"another authority": fake(t, foreign), "another name": fake(t, a.cert), "no TLS": record(t, ""), "a page, no TLS": record(t, page),
	}
	pages := map[string]*recorder{
		"a page":     record(t, page),
		"a redirect": record(t, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://"+elsewhere.addr+"/\r\nContent-Length: 0\r\n\r\n"),
	}
	own := e2e.Fields{"token_file": x.Path("token"), "direct": false}
	secure := e2e.Fields{"token_file": x.Path("token"), "direct": false, "hub_ca": a.ca.File}
	addrs := func(all map[string]*recorder) (addrs []string) {
		for _, r := range all {
			addrs = append(addrs, r.addr)
		}
		return addrs
	}
	d, plain := node(x, "web-1", secure, addrs(fakes)...), node(x, "web-2", own, addrs(pages)...)
	for why, r := range fakes {
		says(d, "cannot use a hub", r.addr)
		x.Want(7, "status", "-C", x.File("kv.yml", "hub_ca: "+a.ca.File+"\n"), "-k", "hosts", "--hub", r.addr, "--token-file", x.Path("token"))
		if conns, got := r.said(); strings.Contains(got, token) {
			t.Errorf("%s: the token came by %d connections: %s", why, conns, got)
		}
	}
	for why, r := range pages {
		says(plain, "cannot use a hub", r.addr, "not a hub")
		if conns, got := r.said(); strings.Contains(got, token) || conns == 0 {
			t.Errorf("%s: the token came by %d connections: %s", why, conns, got)
		}
	}
	if conns, got := elsewhere.said(); conns != 0 {
		t.Errorf("a redirect was followed: %s", got)
	}

	// The control: with the right certificate, the same server gets the token.
	trusted := fake(t, a.own)
	node(x, "web-3", secure, trusted.addr)
	e2e.Eventually(t, "the token comes", func() bool { _, got := trusted.said(); return strings.Contains(got, token) })
}

// A store without ACLs lets any token pass. So a hub that other machines can reach refuses agents, unless it is told otherwise.
func TestAnyAgent(t *testing.T) {
	t.Parallel()
	x := start(t)
	one := x.Machine.Publish(e2e.Text("one", 20))
	a := newAuthorities(x)
	open := []string{"--listen", "0.0.0.0:0", "--tls-cert", a.own, "--tls-key", a.own + ".key"}
	secure := e2e.Fields{"hub_ca": a.ca.File, "direct": false}
	at := func(h *e2e.Hub) string {
		_, port, err := net.SplitHostPort(h.Addr)
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + port
	}
	h := x.Hub("hub", open...)
	d := node(x, "web-1", secure, at(h))
	for _, side := range []*e2e.Daemon{d, h.Daemon} {
		says(side, "the store has no ACLs", "--tls-client-ca", "--any-agent")
	}
	x.Holds("web-1-hosts", "")
	any := x.Hub("any", append(open, "--any-agent")...)
	node(x, "web-2", secure, at(any)).Delivers("web-2-hosts", one)
}
