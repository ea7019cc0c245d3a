package agentfile

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"kvexpress/internal/deliver"
	"kvexpress/internal/kv"
)

// Defaults and limits of the main file.
const (
	defaultPrefix    = "kvexpress"
	defaultReconcile = 5 * time.Minute
	minReconcile     = 10 * time.Second
	maxStores        = 64
	maxNode          = 253 // bytes: what a host name may have
	maxSocket        = 107 // bytes: what a Unix socket's path may have on Linux
	socketName       = "agent.sock"
	absolute         = "an absolute path; begin it with /"
)

func mainFields() []field[loader] {
	config := func(f func(*Config, value)) func(*loader, value) {
		return func(l *loader, v value) { f(&l.config, v) }
	}
	word := func(of func(*Store) *string) func(*loader, value) {
		return func(l *loader, v value) { setOptional(of(&l.config.Store), v, value.word, "one word") }
	}
	path := func(of func(*Store) *string) func(*loader, value) {
		return func(l *loader, v value) { setOptional(of(&l.config.Store), v, value.path, absolute) }
	}
	return []field[loader]{
		{"stores", config(readStores)},
		{"token_file", path(func(s *Store) *string { return &s.TokenFile })},
		{"ca_file", path(func(s *Store) *string { return &s.CAFile })},
		{"client_cert", path(func(s *Store) *string { return &s.ClientCert })},
		{"client_key", path(func(s *Store) *string { return &s.ClientKey })},
		{"tls_server_name", word(func(s *Store) *string { return &s.ServerName })},
		{"datacenter", word(func(s *Store) *string { return &s.Datacenter })},
		{"namespace", word(func(s *Store) *string { return &s.Namespace })},
		{"partition", word(func(s *Store) *string { return &s.Partition })},
		{"prefix", config(readPrefix)},
		{"node", (*loader).readNode},
		{"vars", func(l *loader, v value) { l.marks.readVars(v) }},
		{"state_dir", config(func(c *Config, v value) { set(&c.StateDir)(v.path(absolute)) })},
		{"listen", config(readListen)},
		{"reconcile", config(func(c *Config, v value) { set(&c.Reconcile)(v.duration(minReconcile)) })},
		{"receipts", config(func(c *Config, v value) { set(&c.Receipts)(v.flag()) })},
		{"targets", func(l *loader, v value) { l.targets = v }},
	}
}

// setOptional takes "" for not given: files that are filled in by a program have
// it.
func setOptional(to *string, v value, as func(value, string) (string, bool), want string) {
	if s, ok := v.node.(*ast.StringNode); ok && s.Value == "" {
		return
	}
	set(to)(as(v, want))
}

func readStores(c *Config, v value) {
	const want = "an address such as 127.0.0.1:8500, or a list of them"
	list := []value{v}
	if _, many := v.node.(*ast.SequenceNode); many {
		list, _ = v.items(want)
	}
	if n := len(list); n == 0 || n > maxStores {
		v.bad("a list of %d; give 1 to %d addresses, or remove it", n, maxStores)
		return
	}
	c.Store.Addrs = c.Store.Addrs[:0]
	for _, one := range list {
		if s, ok := one.word(want); ok {
			c.Store.Addrs = append(c.Store.Addrs, s)
		}
	}
}

func readPrefix(c *Config, v value) {
	s, ok := v.text("a name such as " + defaultPrefix)
	if !ok {
		return
	}
	layout, err := kv.NewLayout(s)
	if err != nil {
		v.problems.add(v.at, "%w", err)
		return
	}
	c.Layout = layout
}

func (l *loader) readNode(v value) {
	l.marks.bad[markNode] = true // unless it gets a value: see finish
	s, ok := v.text("the node's name")
	if !ok {
		return
	}
	if reason := badNode(s); reason != "" {
		v.bad("%s %s", kv.Quote(s), reason)
		return
	}
	l.config.Node = s
}

// badNode says why a node cannot have this name. It is a part of a path in the
// store.
func badNode(s string) string {
	switch {
	case s == "":
		return "is empty; give a name, or remove it for the host's"
	case s == "." || s == "..":
		return "is not a name"
	case len(s) > maxNode:
		return "is too long; at most 253 bytes are allowed"
	case strings.Contains(s, "/"):
		return "contains a slash; give a name without"
	case strings.ContainsFunc(s, unprintable):
		return "is not printable; give letters and digits"
	}
	return ""
}

func readListen(c *Config, v value) {
	const want = `an absolute path of a socket, host:port, or "" for none`
	s, ok := v.text(want)
	if !ok {
		return
	}
	if filepath.IsAbs(s) {
		c.Listen = filepath.Clean(s)
		if len(c.Listen) > maxSocket {
			v.bad("%s is too long for a socket; at most %d bytes are allowed", kv.Quote(s), maxSocket)
		}
		return
	}
	if s != "" {
		_, port, err := net.SplitHostPort(s)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || strconv.FormatUint(n, 10) != port {
			v.bad("%s is not %s", kv.Quote(s), want)
			return
		}
	}
	c.Listen = s
}

// finish fills in what the main file does not say, and looks at what belongs
// together.
func (l *loader) finish(given map[string]place) {
	c := &l.config
	if _, ok := given["node"]; !ok {
		if reason := badNode(l.env.Hostname); reason != "" {
			l.marks.bad[markNode] = true
			l.add(l.top(), "the host's name %s cannot be the node's; set node", kv.Quote(l.env.Hostname))
		} else {
			c.Node = l.env.Hostname
		}
	}
	if c.Node != "" {
		l.marks.values[markNode] = c.Node
	}
	if c.Store.Datacenter != "" {
		l.marks.values[markDatacenter] = c.Store.Datacenter
	}
	switch s := c.Store; {
	case s.ClientCert != "" && s.ClientKey == "":
		l.add(given["client_cert"], "client_cert needs client_key beside it")
	case s.ClientCert == "" && s.ClientKey != "":
		l.add(given["client_key"], "client_key needs client_cert beside it")
	}
	if _, ok := given["state_dir"]; !ok {
		dir, err := deliver.DefaultStateDir(l.env.Getenv)
		if err != nil {
			l.add(l.top(), "neither XDG_STATE_HOME nor HOME says where the state belongs; set state_dir")
		}
		c.StateDir = dir
	}
	if _, ok := given["listen"]; !ok {
		c.Listen = defaultListen(os.Geteuid() == 0, l.env.Getenv, c.StateDir)
		if len(c.Listen) > maxSocket {
			l.add(l.top(), "the default of listen, %s, is too long for a socket; set listen", kv.Quote(c.Listen))
		}
	}
}

// top is the place for what the main file does not say.
func (l *loader) top() place { return place{l.main, 1} }

// defaultListen is where the agent listens when the file does not say.
func defaultListen(root bool, getenv func(string) string, stateDir string) string {
	if root {
		return "/run/kvexpress/" + socketName
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kvexpress", socketName)
	}
	return filepath.Join(stateDir, socketName)
}
