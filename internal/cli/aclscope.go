package cli

import (
	"errors"
	"fmt"
	"strings"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

// aclScope is a value of -k: a key, or all keys that a pattern matches. Consul's policies have no wildcards, only prefixes of
// paths: a pattern grants what it must, and excess says what it grants beyond.
type aclScope struct {
	name   string // as given, without a leading slash
	key    kv.Key // of a pattern: the part before the slash and the *
	prefix string // of the keys of a pattern
	all    bool   // it is a pattern
	layout kv.Layout
}

func (s *session) scope(name string) (aclScope, error) {
	prefix, all := strings.CutSuffix(strings.TrimPrefix(name, "/"), "*")
	c := aclScope{name: name, prefix: prefix, all: all, layout: s.layout}
	if all && prefix == "" {
		return c, nil
	}
	if strings.Contains(prefix, "*") {
		return c, fmt.Errorf("%s: a pattern has one *, at its end; name the keys, or a shorter pattern", kv.Quote(name))
	}
	if !all && name == "" {
		return c, errors.New("no key is given; name it with -k KEY")
	}
	var err error
	if c.key, err = kv.ParseKey(strings.TrimSuffix(prefix, "/")); err == nil {
		c.name = strings.TrimPrefix(name, "/")
	}
	return c, err
}

// rules are the rights of a role. Without a node, the role node has no receipt.
func (c aclScope) rules(role, node string) (rules []rule) {
	l, k := c.layout, c.key
	content, history, events := l.Dir(k), l.HistoryDir(k), rule{"key", l.Events(k), "write", "who acted on the key"}
	rollouts := rule{"key", l.Rollout(k), "write", "the rollout of the key"}
	if c.all {
		content, history = l.Prefix()+"/"+c.prefix, l.Prefix()+"/.history/"+c.prefix
		events = rule{"key_prefix", l.EventsDir() + c.prefix, "write", "who acted on the keys"}
		rollouts = rule{"key_prefix", l.RolloutsDir() + c.prefix, "write", "the rollouts of the keys"}
	}
	switch role {
	case "publisher":
		rules = []rule{
			{"key_prefix", content, "write", "content, checksum, manifest and stop"},
			{"key_prefix", history, "write", "past versions"},
			{"key_prefix", l.NodesDir(), "read", "receipts, to count nodes and to wait for them"},
			rollouts,
			events,
		}
		if !c.all {
			rules = append(rules, rule{"key", l.Policy(k), "read", "the policy: operators set it, not publishers"})
		}
		for _, up := range k.Ancestors() {
			rules = append(rules, rule{"key", l.Checksum(up), "read", "to check that the key is not nested in another"})
		}
	case "node":
		rules = []rule{
			{"key_prefix", content, "read", "content, checksum, manifest and stop"},
			{"key_prefix", l.LocksDir(), "read", "the locks of files"},
		}
		if node != "" {
			rules = append(rules, rule{"key", l.Node(node), "write", "the receipt of this node"})
		}
	case "operator":
		rules = []rule{{"key_prefix", l.LocksDir(), "write", "the locks of files"}}
		if c.all {
			rules = append(rules, rule{"key_prefix", content, "write", "stops and policies, and checksums, to wake watches after a stop"})
		} else {
			rules = append(rules,
				rule{"key", l.Stop(k), "write", "the stop"},
				rule{"key", l.Checksum(k), "write", "checksum, to wake watches after a stop"},
				rule{"key", l.Policy(k), "write", "the policy"},
				rule{"key_prefix", content, "read", "content"})
		}
		rules = append(rules,
			rule{"key_prefix", history, "read", "past versions"},
			rule{"key_prefix", l.NodesDir(), "write", "receipts, to read them and to forget a node"},
			rollouts,
			events,
			rule{"key", l.Events(hold.NodeEvents), "write", "who acted on nodes"})
	}
	return rules
}

// excess are rights of a pattern that the role does not need.
func (c aclScope) excess(role string) (more []string) {
	if !c.all {
		return nil
	}
	verb := "read"
	if role != "node" {
		verb = "write"
	}
	switch role {
	case "operator":
		more = append(more, "write the content of these keys")
	case "publisher":
		more = append(more, "write the policies of these keys")
	}
	if strings.HasSuffix(c.prefix, "/") {
		more = append(more, fmt.Sprintf("%s the key %s itself", verb, c.key))
	}
	if c.prefix == "" && role != "publisher" {
		more = append(more, verb+" the past versions of all keys")
	}
	if role == "publisher" && strings.HasPrefix("locks/", c.prefix) {
		more = append(more, "write the locks of all files")
	}
	return more
}
