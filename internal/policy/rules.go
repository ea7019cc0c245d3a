package policy

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// level is what a rule grants. Of two rules on the same name the one that comes first here counts.
type level int

const (
	deny level = iota + 1
	write
	list
	read
)

func parseLevel(text string) level {
	switch strings.ToLower(text) {
	case "deny":
		return deny
	case "write":
		return write
	case "list":
		return list
	case "read":
		return read
	default:
		return 0
	}
}

func (l level) reads() bool { return l == read || l == list || l == write }

// matcher finds the rule for a name: that of the name itself, or else that of the longest prefix.
type matcher struct {
	exact   map[string]level
	prefix  map[string]level
	lengths []int // of the prefixes, longest first
}

// add notes a rule.
func (m *matcher) add(name string, l level, prefix bool) {
	into := &m.exact
	if prefix {
		into = &m.prefix
	}
	if *into == nil {
		*into = map[string]level{}
	}
	old, twice := (*into)[name]
	if twice {
		l = min(l, old)
	}
	(*into)[name] = l
	if at, known := slices.BinarySearchFunc(m.lengths, len(name), func(a, b int) int { return cmp.Compare(b, a) }); prefix && !known {
		m.lengths = slices.Insert(m.lengths, at, len(name))
	}
}

// find returns the rule for a name; 0 if there is none.
func (m *matcher) find(name string) level {
	if l, ok := m.exact[name]; ok {
		return l
	}
	return m.below(name)
}

// below returns the rule of the longest prefix of name.
func (m *matcher) below(name string) level {
	for _, n := range m.lengths {
		if n <= len(name) {
			if l, ok := m.prefix[name[:n]]; ok {
				return l
			}
		}
	}
	return 0
}

// writesAll reports whether everything that begins with prefix may be written: it is granted, and no
// rule below takes it back.
func (m *matcher) writesAll(prefix string) bool {
	if m.below(prefix) != write {
		return false
	}
	for _, rules := range []map[string]level{m.exact, m.prefix} {
		for name, l := range rules {
			if l != write && strings.HasPrefix(name, prefix) {
				return false
			}
		}
	}
	return true
}

// Rules are what a policy allows. What no rule speaks of is denied. They are not changed any more.
type Rules struct {
	keys, sessions, agents matcher
	idle                   map[string]bool // kinds of rules that have no effect here
}

// KeyRead reports whether the row may be read.
func (r *Rules) KeyRead(key string) bool { return r.keys.find(key).reads() }

// KeyWrite reports whether the row may be written.
func (r *Rules) KeyWrite(key string) bool { return r.keys.find(key) == write }

// KeyWritePrefix reports whether all rows below may be deleted at once.
func (r *Rules) KeyWritePrefix(prefix string) bool { return r.keys.writesAll(prefix) }

// SessionRead reports whether the sessions of a node may be seen.
func (r *Rules) SessionRead(node string) bool { return r.sessions.find(node).reads() }

// SessionWrite reports whether sessions of a node may be made, renewed and ended.
func (r *Rules) SessionWrite(node string) bool { return r.sessions.find(node) == write }

// AgentRead reports whether a node may be asked about itself.
func (r *Rules) AgentRead(node string) bool { return r.agents.find(node).reads() }

// ParseRules reads a policy in Consul's language, HCL or JSON.
func ParseRules(src []byte) (*Rules, error) {
	v, err := parse(src)
	if err != nil {
		return nil, err
	}
	r := &Rules{}
	for _, e := range v.entries {
		if err := r.add(e); err != nil {
			return nil, err
		}
	}
	return r, nil
}

const kinds = "key, key_prefix, session, session_prefix, agent and agent_prefix"

// add takes the rules of one kind.
func (r *Rules) add(e entry) error {
	m, prefix := r.matcher(e.name)
	if m == nil {
		return r.addIdle(e)
	}
	if e.text != nil {
		return mistake(e.line, "a rule on keys, sessions or agents is a block: %s \"NAME\" { policy = \"read\" }", e.name)
	}
	for _, rule := range e.entries {
		l, err := ruleLevel(rule, m == &r.keys)
		if err != nil {
			return err
		}
		m.add(rule.name, l, prefix)
	}
	return nil
}

func (r *Rules) matcher(kind string) (m *matcher, prefix bool) {
	switch kind {
	case "key":
		return &r.keys, false
	case "key_prefix":
		return &r.keys, true
	case "session":
		return &r.sessions, false
	case "session_prefix":
		return &r.sessions, true
	case "agent":
		return &r.agents, false
	case "agent_prefix":
		return &r.agents, true
	default:
		return nil, false
	}
}

// addIdle takes a rule on what there is in Consul and not here.
func (r *Rules) addIdle(e entry) error {
	switch e.name {
	case "acl", "keyring", "operator", "mesh", "peering":
		if e.text == nil || parseLevel(*e.text) == 0 || parseLevel(*e.text) == list {
			return mistake(e.line, "%s is \"read\", \"write\" or \"deny\"", e.name)
		}
	case "node", "node_prefix", "service", "service_prefix", "event", "event_prefix", "query", "query_prefix", "identity", "identity_prefix":
		for _, rule := range e.entries {
			if _, err := ruleLevel(rule, false, "intentions"); err != nil {
				return err
			}
		}
		if e.text != nil {
			return mistake(e.line, "it is a block: %s \"NAME\" { policy = \"read\" }", e.name)
		}
	default:
		return mistake(e.line, "there is no such rule; those with an effect are %s", kinds)
	}
	if r.idle == nil {
		r.idle = map[string]bool{}
	}
	r.idle[e.name] = true
	return nil
}

var errLevel = errors.New(`policy is "read", "write", "list" or "deny", and "list" is for keys alone`)

// ruleLevel reads the block of one rule. Entries with one of the names in besides are of no interest.
func ruleLevel(rule entry, mayList bool, besides ...string) (level, error) {
	if rule.text != nil {
		return 0, mistake(rule.line, `what the rule is about is missing: write key "NAME" { policy = "read" }`)
	}
	found := level(0)
	for _, e := range rule.entries {
		switch {
		case slices.Contains(besides, e.name):
			continue
		case e.name != "policy":
			return 0, mistake(e.line, "a rule has nothing but a policy")
		case found != 0:
			return 0, mistake(e.line, "policy is there twice")
		case e.text == nil:
			return 0, mistake(e.line, "%w", errLevel)
		}
		if found = parseLevel(*e.text); found == 0 || found == list && !mayList {
			return 0, mistake(e.line, "%w", errLevel)
		}
	}
	if found == 0 {
		return 0, mistake(rule.line, "the rule has no policy; %w", errLevel)
	}
	return found, nil
}
