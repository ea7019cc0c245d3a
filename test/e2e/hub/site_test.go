//go:build linux

package hub

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// late is how many requests to the store an agent may make because its hub has not answered within a second, on a machine
// that has more to do. An agent that follows the store makes more.
const late = 3

// start is a Consul with its own limits, and a machine that uses it.
func start(t *testing.T, opts ...consultest.Option) *e2e.Site {
	t.Helper()
	opts = append(opts, consultest.WithConfig(map[string]any{"limits": map[string]any{"http_max_conns_per_client": 200}}))
	s := consultest.Start(t, opts...)
	client, err := consul.New(consul.Options{Addr: s.Addr, Token: s.ManagementToken})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	m := e2e.NewMachine(t, s.Addr, "CONSUL_HTTP_TOKEN="+s.ManagementToken)
	return &e2e.Site{Machine: m, Store: &e2e.Store{T: t, Server: s, Token: s.ManagementToken}, Client: client, Layout: layout,
		Prefix: layout.Prefix()}
}

// node runs the agent of a node with the file NAME-hosts of the key hosts.
func node(x *e2e.Site, name string, more e2e.Fields, hubs ...string) *e2e.Daemon {
	x.T.Helper()
	configure(x, name, more, hubs...)
	return x.Agent(name)
}

func configure(x *e2e.Site, name string, more e2e.Fields, hubs ...string) {
	x.T.Helper()
	all := e2e.Fields{"hubs": hubs}
	for k, v := range more {
		all[k] = v
	}
	x.ConfigWith(name, all, nil, e2e.Fields{"key": "hosts", "file": x.Path(name + "-hosts"), "min_lines": 1})
}

// says waits until the log of a daemon has a line with all of these words, and returns it.
func says(d *e2e.Daemon, words ...string) (line string) {
	d.T.Helper()
	e2e.Within(d.T, 2*time.Minute, fmt.Sprintf("the log says %q", words), func() bool {
		line = lineWith(d.Said(), words...)
		return line != ""
	})
	return line
}

// lineWith is the first line with all of these words; "" if there is none.
func lineWith(text string, words ...string) string {
lines:
	for line := range strings.Lines(text) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		return line
	}
	return ""
}

// report is what `kvexpress status` says of a key.
func report(x *e2e.Site, hub, key string) (r fleet.Report) {
	x.T.Helper()
	if err := json.Unmarshal([]byte(x.Run("status", "-k", key, "--hub", hub, "--json").Stdout), &r); err != nil {
		x.T.Errorf("status: %v", err)
	}
	return r
}

// established is how many connections to a port of this machine there are.
func established(t *testing.T, addr string) (n int) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) { // number: local remote state
		if f := strings.Fields(line); strings.HasSuffix(f[2], fmt.Sprintf(":%04X", number)) && f[3] == "01" {
			n++
		}
	}
	return n
}

// recorder accepts connections and keeps what they send. It answers with its reply, and closes them when they are silent.
type recorder struct {
	addr  string
	reply string

	mu    sync.Mutex
	conns int
	got   strings.Builder
}

func record(t *testing.T, reply string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r := &recorder{addr: l.Addr().String(), reply: reply}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns++
			r.mu.Unlock()
			go r.take(c)
		}
	}()
	return r
}

func (r *recorder) take(c net.Conn) {
	defer c.Close()
	b := make([]byte, 64<<10)
	for {
		if c.SetReadDeadline(time.Now().Add(3*time.Second)) != nil {
			return
		}
		n, err := c.Read(b)
		r.mu.Lock()
		r.got.Write(b[:n])
		r.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := c.Write([]byte(r.reply)); err != nil {
			return
		}
	}
}

// said is what it got, and from how many connections.
func (r *recorder) said() (conns int, got string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conns, r.got.String()
}
