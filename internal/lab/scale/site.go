//go:build linux

package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/lab/machine"
	"kvexpress/internal/store/consul"
)

// atOnce is how many agents may have been started without having their file, and how many
// requests for tokens are made at a time.
const atOnce = 16

// prefix is that of all keys.
const prefix = "kvexpress"

// site is a fleet, its folders and its way to the store.
type site struct {
	Options
	result    *Result
	nodes     []*node
	processes *processes
	publisher string // the token that publishes and asks
	source    string // the file that is published
	layout    kv.Layout
	reader    *fleet.Reader
	published map[kv.Key]int // how many versions each node had of a key
}

// node is one machine of the fleet, as far as there is one.
type node struct {
	name, dir string
	server    int // which of them it asks
}

func (n *node) file(k kv.Key) string  { return filepath.Join(n.dir, string(k)) }
func (n *node) log() string           { return filepath.Join(n.dir, "agent.log") }
func (n *node) trace(k kv.Key) string { return filepath.Join(n.dir, string(k)+".ran") }

func (s *site) note(format string, args ...any) {
	if s.Note != nil {
		s.Note(fmt.Sprintf(format, args...))
	}
}

// prepare makes all that processes need: folders, tokens, configurations, and the first
// version of the hosts file.
func (s *site) prepare(ctx context.Context) error {
	var err error
	if s.layout, err = kv.NewLayout(prefix); err != nil {
		return err
	}
	s.source, s.published = filepath.Join(s.Dir, "source"), map[kv.Key]int{}
	folders := filepath.Join(s.Dir, "nodes")
	if err := errors.Join(os.Mkdir(folders, 0o700), machine.Spread(folders)); err != nil {
		return err
	}
	for i := range s.Nodes {
		name := fmt.Sprintf("node-%04d", i+1)
		s.nodes = append(s.nodes, &node{name: name, dir: filepath.Join(folders, name), server: i % len(s.Servers)})
	}
	began := time.Now()
	tokens, err := s.tokens(ctx)
	if err != nil {
		return err
	}
	s.result.Tokens = fleet.Millis(time.Since(began))
	s.note("%d tokens, each with the policy of its node, in %v", len(tokens), time.Since(began).Round(time.Millisecond))
	for i, n := range s.nodes {
		if err := s.configure(n, tokens[i]); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	store, err := consul.New(consul.Options{Addr: s.Servers[0].Addr, Token: s.publisher, Bare: true})
	if err != nil {
		return err
	}
	s.reader = &fleet.Reader{Store: store, Layout: s.layout}
	if err := os.WriteFile(s.source, hosts(0), 0o600); err != nil {
		return err
	}
	s.published[keyHosts]++
	_, err = s.kvexpress(ctx, "in", "-k", keyHosts, "-f", s.source, "-l", fmt.Sprint(fewest))
	return err
}

// configure writes agent.yml and the token of a node. JSON is YAML.
func (s *site) configure(n *node, token string) error {
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return err
	}
	var stores []string
	for i := range s.Servers { // its own first
		stores = append(stores, s.Servers[(n.server+i)%len(s.Servers)].Addr)
	}
	type fields = map[string]any
	target := func(k kv.Key) fields {
		return fields{
			"key": k, "file": n.file(k), "mode": "0644", "min_lines": fewest,
			"exec": []string{"sh", "-c", `echo "$KVEXPRESS_VERSION $KVEXPRESS_SHA256" >>"$1"`, "exec", n.trace(k)},
		}
	}
	secret := filepath.Join(n.dir, "token")
	config, err := json.MarshalIndent(fields{
		"stores": stores, "token_file": secret, "prefix": prefix, "node": n.name, "listen": "",
		"state_dir": filepath.Join(n.dir, "state"), "targets": []fields{target(keyHosts), target(keyAdHoc)},
	}, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(secret, []byte(token+"\n"), 0o600), os.WriteFile(filepath.Join(n.dir, "agent.yml"), config, 0o600))
}
