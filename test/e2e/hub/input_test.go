//go:build linux

package hub

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"kvexpress/internal/wire"
	"kvexpress/test/e2e"
)

// What an agent is told to follow is no hub for it. It says so in one line, the hub too, and the last good file stays.
func TestNoHubForThisAgent(t *testing.T) {
	t.Parallel()
	x := start(t)
	x.Machine.Publish(e2e.Text("one", 20))
	here := x.Hub("here", "--datacenter", "dc1")
	unknown := x.Hub("unknown")
	prefix := x.Hub("prefix", "-p", "other")
	newer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"kvexpress.9"}})
		if err == nil {
			_, _, _ = c.Read(r.Context())
			_ = c.CloseNow()
		}
	}))
	t.Cleanup(newer.Close)
	var all sync.WaitGroup
	for name, tt := range map[string]struct {
		addr   string
		fields e2e.Fields
		words  []string
		hub    *e2e.Hub // nil: it is none
	}{
		"page":       {record(t, page).addr, nil, []string{"not a hub", "HTTP status 200", "check its address"}, nil},
		"consul":     {x.Store.Server.Addr, nil, []string{"not a hub", "HTTP status", "check its address"}, nil},
		"version":    {newer.Listener.Addr().String(), nil, []string{"does not speak kvexpress.1", "same version"}, nil},
		"prefix":     {prefix.Addr, nil, []string{"prefix", `"other"`, `"kvexpress"`, "hub.yml"}, prefix},
		"datacenter": {here.Addr, e2e.Fields{"datacenter": "dc2"}, []string{"datacenter", `"dc2"`, `"dc1"`, "agent.yml"}, here},
		"unknown":    {unknown.Addr, e2e.Fields{"datacenter": "dc2"}, []string{"datacenter", `"dc2"`, "hub.yml"}, unknown},
	} {
		all.Go(func() {
			x.File(name+"-hosts", "last good\n")
			fields := e2e.Fields{"direct": false}
			for k, v := range tt.fields {
				fields[k] = v
			}
			d := node(x, name, fields, tt.addr)
			line := says(d, append(tt.words, "cannot use a hub", tt.addr)...)
			if tt.hub != nil {
				says(tt.hub.Daemon, append(tt.words, "agent refused")...)
			}
			says(d, "no hub can be reached; files stay as they are")
			x.Holds(name+"-hosts", "last good\n")
			if n := strings.Count(d.Said(), line[strings.Index(line, "cannot"):]); n != 1 {
				t.Errorf("%s: it says %d times %s", name, n, line)
			}
			d.Kill()
		})
	}
	all.Wait()
}

// What an agent of this version never sends: the hub says why it refuses it, to the agent and in its log.
func TestWrongHello(t *testing.T) {
	t.Parallel()
	x := start(t)
	h := x.Hub("hub")
	target := wire.Target{Key: "hosts", Files: []string{"/etc/hosts"}}
	good := wire.Hello{Node: "web-1", Host: "web-1", Prefix: "kvexpress", Targets: []wire.Target{target}}
	edit := func(change func(*wire.Hello)) wire.FromAgent {
		hello := good
		change(&hello)
		return wire.FromAgent{Hello: &hello}
	}
	for _, tt := range []struct {
		what    string
		message wire.FromAgent
		words   []string
	}{
		{"5,000 targets", edit(func(o *wire.Hello) { o.Targets = make([]wire.Target, 5000) }), []string{"5000 targets", "4096"}},
		{"a node name that is none", edit(func(o *wire.Hello) { o.Node = "a/../b" }), []string{"a/../b", "set node in agent.yml"}},
		{"a host name that is none", edit(func(o *wire.Hello) { o.Host = "a/b" }), []string{"host name", "a/b"}},
		{"a key that is none", edit(func(o *wire.Hello) { o.Targets = []wire.Target{{Key: "../x", Files: target.Files}} }), []string{"../x", "key"}},
		{"a path that is none", edit(func(o *wire.Hello) { o.Targets = []wire.Target{{Key: "k", Files: []string{"x"}}} }), []string{"absolute path"}},
		{"no hello", wire.FromAgent{Beat: &wire.Beat{}}, []string{"not a hello"}},
	} {
		e2e.Eventually(t, tt.what+": the hub's log says so", func() bool { // it has one line a second at most
			if says := refused(t, h.Addr, tt.message); lineWith(says, tt.words...) == "" {
				t.Fatalf("%s: the agent is told %q", tt.what, says)
			}
			return lineWith(h.Said(), append(tt.words, "agent refused")...) != ""
		})
	}
	e2e.Eventually(t, "the hub's log names a client that is no agent", func() bool {
		c, _, err := websocket.Dial(t.Context(), "http://"+h.Addr+wire.Path, &websocket.DialOptions{Subprotocols: []string{"kvexpress.9"}})
		if err == nil {
			_ = c.CloseNow()
		}
		return lineWith(h.Said(), "does not speak "+wire.Protocol) != ""
	})
	if agents := h.Metric("agents"); agents != 0 {
		t.Errorf("the hub has %v agents", agents)
	}

	// An agent with such a configuration does not start, and names the entry.
	var many []e2e.Fields
	for i := range 5000 {
		many = append(many, e2e.Fields{"key": "hosts", "file": x.Path(fmt.Sprint(i))})
	}
	x.ConfigWith("many", e2e.Fields{"hubs": []string{h.Addr}}, nil, many...)
	x.Fails(1, []string{"4096 targets"}, "agent", "-C", x.Path("many.yml"))
	configure(x, "named", e2e.Fields{"node": "a/../b"}, h.Addr)
	x.Fails(1, []string{"node", "a/../b"}, "agent", "-C", x.Path("named.yml"))
}

// refused sends one message, and returns why the hub refuses it.
func refused(t *testing.T, addr string, m wire.FromAgent) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := wire.Dialer{}.Dial(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := wire.Encode(m)
	if err == nil {
		err = conn.Write(ctx, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := wire.DecodeFromHub(b); err == nil && answer.Refused != nil {
			return answer.Refused.Says
		}
	}
}
