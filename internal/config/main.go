package config

import (
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// Limits of the main file.
const (
	minReconcile = 10 * time.Second
	longest      = 24 * time.Hour // of every time
	maxStores    = 64
	maxSocket    = 107 // bytes of a Unix socket's path on Linux
	socketName   = "agent.sock"
)

func defaults(path string) Config {
	c := Config{Reconcile: 5 * time.Minute, Receipts: true, Output: true, Files: []string{path}, Hubs: Hubs{Direct: true}}
	c.Store.Addrs = []string{""}
	c.Layout, _ = kv.NewLayout("kvexpress")
	return c
}

func (l *loader) mainSetters() map[string]func(value) {
	c := &l.config
	setters := map[string]func(value){
		"stores":      func(v value) { v.addresses(&c.Store.Addrs, maxStores, parseAddr) },
		"prefix":      one(&c.Layout, kv.NewLayout),
		"node":        one(&c.Node, kv.ParseNode),
		"vars":        l.readVars,
		"state_dir":   one(&c.StateDir, parsePath),
		"listen":      one(&c.Listen, parseListen),
		"reconcile":   one(&c.Reconcile, parseDuration(minReconcile)),
		"receipts":    one(&c.Receipts, parseSwitch),
		"send_output": one(&c.Output, parseSwitch),
		"direct":      one(&c.Hubs.Direct, parseSwitch),
		"labels":      func(v value) { l.config.Labels = v.labels() },
		"targets":     func(v value) { l.targets = v },
	}
	maps.Copy(setters, storeSetters(&c.Store))
	maps.Copy(setters, hubSetters(&c.Hubs, "hubs"))
	return setters
}

// storeSetters are the keys that say how Consul is reached, except its address.
func storeSetters(s *Store) map[string]func(value) {
	return map[string]func(value){
		"token_file":      one(&s.TokenFile, parsePath),
		"ca_file":         one(&s.CAFile, parsePath),
		"client_cert":     one(&s.ClientCert, parsePath),
		"client_key":      one(&s.ClientKey, parsePath),
		"tls_server_name": one(&s.ServerName, parseWord),
		"datacenter":      one(&s.Datacenter, parseWord),
		"namespace":       one(&s.Namespace, parseWord),
		"partition":       one(&s.Partition, parseWord),
	}
}

func parseAddr(s string) (string, error) {
	if s == "" {
		return "", errors.New("the address is empty; give one such as 127.0.0.1:8500, or remove the key")
	}
	return parseWord(s)
}

func parseListen(s string) (string, error) {
	if filepath.IsAbs(s) {
		return filepath.Clean(s), nil
	}
	_, port, err := net.SplitHostPort(s)
	if n, bad := strconv.ParseUint(port, 10, 16); s != "" && (err != nil || bad != nil || strconv.FormatUint(n, 10) != port) {
		return "", errors.New(`the value is not an address; give an absolute path of a socket, host:port, or "" for none`)
	}
	return s, nil
}

// finish sets defaults of the main file, and checks keys that depend on each other.
func (l *loader) finish(lines map[string]int) {
	c, s := &l.config, l.config.Store
	if lines["node"] == 0 {
		var err error
		if c.Node, err = kv.ParseNode(l.env.Hostname); err != nil {
			l.add(1, "the host name is no valid name of a node: %w; set node", err)
		}
	}
	for word, text := range map[string]string{wordNode: c.Node, wordDatacenter: s.Datacenter} {
		if text != "" {
			l.words[word] = text
		}
	}
	l.finishStore(s, lines)
	l.finishHubs(c.Hubs, "hubs", lines)
	if c.StateDir == "" {
		dir, err := install.DefaultStateDir(l.env.Getenv)
		if err != nil {
			l.add(1, "state_dir has no default without XDG_STATE_HOME and HOME; set it")
		}
		c.StateDir = dir
	}
	if lines["listen"] == 0 {
		c.Listen = DefaultListen(os.Geteuid() == 0, l.env.Getenv, c.StateDir)
	}
	if filepath.IsAbs(c.Listen) && len(c.Listen) > maxSocket {
		l.add(max(lines["listen"], 1), "listen: %s is too long for a socket; give at most %d bytes", kv.Quote(c.Listen), maxSocket)
	}
}

// finishStore checks the keys about the store against each other.
func (l *loader) finishStore(s Store, lines map[string]int) {
	if (s.ClientCert == "") != (s.ClientKey == "") {
		l.add(max(lines["client_cert"], lines["client_key"]), "client_cert and client_key need each other; give both or neither")
	}
}

// DefaultListen is the default of listen.
func DefaultListen(root bool, getenv func(string) string, stateDir string) string {
	if root {
		return "/run/kvexpress/" + socketName
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kvexpress", socketName)
	}
	return filepath.Join(stateDir, socketName)
}
