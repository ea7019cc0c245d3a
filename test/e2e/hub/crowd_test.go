//go:build linux

package hub

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"kvexpress/internal/agent"
	"kvexpress/internal/atomicfile"
	"kvexpress/internal/config"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
	"kvexpress/test/e2e"
)

// host is the host name of all nodes of a crowd: locks go by it, and by the path.
const host = "crowd.example"

// crowd is many agents in this process, each with a file of the key hosts. It knows what each of them has installed.
type crowd struct {
	x     *e2e.Site
	nodes []*member

	forbidden sync.Map // numbers that no node may install: they were live only while the key was stopped
	installs  atomic.Int64
	moves     atomic.Int64
}

// member is a node of a crowd.
type member struct {
	name, file string
	has        atomic.Int64 // the number in place
	locked     sync.Map     // numbers that it may not install: they were live only while its file was locked
}

func newCrowd(x *e2e.Site, nodes int, hubs, stores []string) *crowd {
	x.T.Helper()
	c := &crowd{x: x}
	for i := range nodes {
		name := fmt.Sprintf("n%04d", i)
		if err := os.Mkdir(x.Path(name), 0o755); err != nil {
			x.T.Fatal(err)
		}
		c.nodes = append(c.nodes, &member{name: name, file: name + "/hosts"})
	}
	ctx, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	x.T.Cleanup(func() { end(); all.Wait() })
	for _, m := range c.nodes {
		a := c.agent(m, hubs, stores)
		all.Go(func() {
			if err := a.Run(ctx); err != nil {
				x.T.Errorf("%s: %v", m.name, err)
			}
		})
	}
	return c
}

// agent makes the agent of a node, as the program does.
func (c *crowd) agent(m *member, hubs, stores []string) *agent.Agent {
	c.x.T.Helper()
	c.x.ConfigWith(m.name+"/agent", e2e.Fields{"node": m.name, "hubs": hubs, "listen": "", "state_dir": c.x.Path(m.name + "/state")}, stores,
		e2e.Fields{"key": "hosts", "file": c.x.Path(m.file), "min_lines": 1})
	conf, err := config.Load(c.x.Path(m.name+"/agent.yml"), config.Env{Getenv: func(string) string { return "" }, Hostname: host})
	if err != nil {
		c.x.T.Fatal(err)
	}
	a, err := agent.New(agent.Options{
		Config: conf, Host: host, Version: "crowd", Log: slog.New(slog.DiscardHandler),
		Open: func(s config.Store) (all []agent.Store, err error) {
			for _, addr := range s.Addrs {
				store, err := consul.New(consul.Options{Addr: addr, Lasting: true, Bare: true})
				if err != nil {
					return nil, err
				}
				all = append(all, store)
			}
			return all, nil
		},
		Hubs: func(config.Config) (agent.Uplink, error) {
			dial := func(ctx context.Context, addr string) (wire.Conn, error) {
				c.moves.Add(1)
				return wire.Dialer{}.Dial(ctx, addr)
			}
			return agent.Uplink{Dial: dial, Token: func() (string, error) { return "", nil }}, nil
		},
		Fault: func(p install.FaultPoint) error {
			if p == atomicfile.AtSyncDir { // the file has just been renamed
				c.installed(m)
			}
			return nil
		},
	})
	if err != nil {
		c.x.T.Fatal(err)
	}
	return a
}

// installed notes what a node has installed, and whether it may.
func (c *crowd) installed(m *member) {
	n, last := c.number(m), m.has.Load()
	m.has.Store(n)
	c.installs.Add(1)
	if n < last {
		c.x.T.Errorf("%s goes back from %d to %d", m.name, last, n)
	}
	if _, not := c.forbidden.Load(n); not {
		c.x.T.Errorf("%s installs %d, which was live only while the key was stopped", m.name, n)
	}
	if _, not := m.locked.Load(n); not {
		c.x.T.Errorf("%s installs %d, which was live only while its file was locked", m.name, n)
	}
}

// number is the number of the version on a node's disk; 0 without one, -1 for other content.
func (c *crowd) number(m *member) (n int64) {
	b, err := os.ReadFile(c.x.Path(m.file))
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscanf(string(b), "127.0.0.1 version-%d-0.example", &n); err != nil || string(b) != e2e.Version(int(n)) {
		return -1
	}
	return n
}

// having is how many nodes have this number.
func (c *crowd) having(n int64) (nodes int) {
	for _, m := range c.nodes {
		if m.has.Load() == n {
			nodes++
		}
	}
	return nodes
}

// audit compares the receipts that a hub knows with the disks, and returns how many there are. A file never goes back, so the disk
// has what an earlier receipt claims, or something newer.
func (c *crowd) audit(h *e2e.Hub, sums map[string]int64) (receipts int) {
	page, err := fleet.ParsePage([]byte(h.Get(wire.ReceiptsPath)))
	if err != nil {
		return 0 // it was killed
	}
	for _, row := range page.Rows {
		r, err := fleet.ParseReceipt(row.Node, row.Value, row.Flags)
		if err != nil {
			c.x.T.Errorf("the receipt of %s: %v", row.Node, err)
			continue
		}
		i := 0
		if _, err := fmt.Sscanf(row.Node, "n%d", &i); err != nil || i >= len(c.nodes) {
			c.x.T.Errorf("a receipt of %s", row.Node)
			continue
		}
		for _, target := range r.Targets {
			claimed, known := sums[target.SHA256]
			receipts++
			if has := c.number(c.nodes[i]); target.SHA256 != "" && (!known || has < claimed) {
				c.x.T.Errorf("the receipt of %s claims %d (known: %t), and the disk has %d", row.Node, claimed, known, has)
			}
		}
	}
	return receipts
}
