package config

import (
	"fmt"
	"maps"
	"math"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// Hub is the content of hub.yml. Paths may be empty.
type Hub struct {
	Store             Store // of one address, which is empty for Consul's environment or its default
	Layout            kv.Layout
	Listen            string // an absolute path (Unix socket), host:port, or "" for the hub's default
	MaxConnsPerClient int
	DataDir           string
	Tokens            string
	TLSCert           string
	TLSKey            string
	TLSClientCA       string
	ReadEvery         time.Duration
	ExpireAfter       time.Duration
	PerNode           bool
	AnyAgent          bool
	NodeFrom          string // what proves the name of a node
	Peers             Hubs   // the other hubs of the fleet
	Gates             map[string]Gate
	Notify            Notify
}

// LoadHub reads hub.yml, a file of at most 1 MiB. Keys that it lacks stay as they are in c, and so do given keys, which are
// not read. The error is an *Error with all mistakes, or, if the file cannot be read, the cause.
func LoadHub(path string, c Hub, given func(key string) bool) (Hub, error) {
	l := &loader{main: printable(path), file: printable(path), least: "listen: 127.0.0.1:8610"}
	l.hint = func(key string) string {
		switch key {
		case "token":
			return hint
		case "stores":
			return "; a hub has one store; give store"
		}
		return ""
	}
	b, err := readFile(path)
	if err != nil {
		return Hub{}, fmt.Errorf("read the configuration %s: %w; name another with -C", l.main, err)
	}
	setters := hubFileSetters(&c)
	for key := range setters {
		if given(key) {
			setters[key] = func(value) {}
		}
	}
	lines := l.readMap(b, setters)
	l.finishStore(c.Store, lines)
	l.finishHubs(c.Peers, "peers", lines)
	return c, l.err()
}

func hubFileSetters(c *Hub) map[string]func(value) {
	setters := map[string]func(value){
		"store":                one(&c.Store.Addrs[0], parseAddr),
		"prefix":               one(&c.Layout, kv.NewLayout),
		"listen":               one(&c.Listen, parseListen),
		"max_conns_per_client": one(&c.MaxConnsPerClient, parseNumber("connections", math.MaxInt32)),
		"data_dir":             one(&c.DataDir, parsePath),
		"tokens":               one(&c.Tokens, parsePath),
		"tls_cert":             one(&c.TLSCert, parsePath),
		"tls_key":              one(&c.TLSKey, parsePath),
		"tls_client_ca":        one(&c.TLSClientCA, parsePath),
		"read_every":           one(&c.ReadEvery, parseTime),
		"expire_after":         one(&c.ExpireAfter, parseTime),
		"per_node":             one(&c.PerNode, parseSwitch),
		"any_agent":            one(&c.AnyAgent, parseSwitch),
		"node_from":            one(&c.NodeFrom, parseNodeFrom),
		"gates":                func(v value) { c.Gates = readGateCommands(v) },
		"notify":               func(v value) { c.Notify = readNotify(v) },
	}
	maps.Copy(setters, storeSetters(&c.Store))
	maps.Copy(setters, hubSetters(&c.Peers, "peers"))
	return setters
}

func parseNodeFrom(s string) (string, error) {
	if s != "token" && s != "certificate" {
		return "", fmt.Errorf("%.20q is not known; give token or certificate", s)
	}
	return s, nil
}

// parseTime leaves limits to the hub, which has them for flags too.
func parseTime(s string) (time.Duration, error) {
	d, err := wait.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%.20q is not a time; give a number and a unit, such as 30s, 5m or 1d", s)
	}
	return d, nil
}
