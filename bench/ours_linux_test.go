package bench

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"kvexpress/internal/agent"
	"kvexpress/internal/config"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

// target is one entry of an agent's configuration.
type target struct{ key, file string }

// agentYAML is the configuration of a node's agent.
func agentYAML(s site, i int, targets ...target) []byte {
	var y bytes.Buffer
	fmt.Fprintf(&y, "stores: %s\nprefix: %s\nnode: n%04d\nstate_dir: %s\nlisten: \"\"\nreceipts: %t\n",
		s.Addr, prefix, i, strconv.Quote(s.state(i)), s.Receipts)
	if s.Hub != "" {
		y.WriteString("hubs: " + s.Hub + "\ndirect: false\n")
	}
	y.WriteString("targets:\n")
	for _, t := range targets {
		fmt.Fprintf(&y, "  - key: %s\n    file: %s\n    min_lines: 1\n", t.key, strconv.Quote(t.file))
		y.WriteString(s.Extra)
	}
	return y.Bytes()
}

// newAgent makes a node's agent in this process, from the same configuration as
// one of its own process has. It logs as that does, and shares nothing with others.
func newAgent(s site, i int) (*agent.Agent, error) {
	file := filepath.Join(s.node(i), "agent.yml")
	if err := os.WriteFile(file, agentYAML(s, i, s.list(i)...), 0o600); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	conf, err := config.Load(file, config.Env{Getenv: os.Getenv, Hostname: host})
	if err != nil {
		return nil, err
	}
	var stores []agent.Store // made once: a reload goes on with the same connections
	for _, addr := range conf.Store.Addrs {
		store, err := consul.New(consul.Options{Addr: addr, Lasting: true})
		if err != nil {
			return nil, err
		}
		stores = append(stores, store)
	}
	return agent.New(agent.Options{
		Config: conf, Host: host, Version: "bench",
		Open: func(config.Store) ([]agent.Store, error) { return stores, nil },
		Hubs: func(config.Config) (agent.Uplink, error) {
			return agent.Uplink{Dial: wire.Dialer{}.Dial, Token: func() (string, error) { return "", nil }}, nil
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}
