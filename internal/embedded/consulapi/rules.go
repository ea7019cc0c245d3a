package consulapi

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// level is the access that a rule grants. If two rules have the same name, the smaller level counts.
type level int

const (
	levelDeny level = iota + 1
	levelWrite
	levelList
	levelRead
)

// parseLevel returns 0 for any other text.
func parseLevel(text string) level {
	return map[string]level{"deny": levelDeny, "write": levelWrite, "list": levelList, "read": levelRead}[strings.ToLower(text)]
}

func (l level) reads() bool { return l == levelRead || l == levelList || l == levelWrite }

// matcher finds the rule for a name: the exact one, or else the one with the longest prefix.
type matcher struct {
	exact   map[string]level
	prefix  map[string]level
	lengths []int // of the prefixes, longest first
}

// add adds a rule.
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
	longest := func(a, b int) int { return cmp.Compare(b, a) }
	if at, known := slices.BinarySearchFunc(m.lengths, len(name), longest); prefix && !known {
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

// writesAll reports whether everything that begins with prefix may be written, and no rule below denies it.
func (m *matcher) writesAll(prefix string) bool {
	if m.below(prefix) != levelWrite {
		return false
	}
	for _, levels := range []map[string]level{m.exact, m.prefix} {
		for name, l := range levels {
			if l != levelWrite && strings.HasPrefix(name, prefix) {
				return false
			}
		}
	}
	return true
}

// rules are what a policy allows on keys. Everything else is denied. They are immutable.
type rules struct {
	keys    matcher
	ignored map[string]bool // kinds of rules without an effect here
}

// reads reports whether the row may be read.
func (r *rules) reads(key string) bool { return r.keys.find(key).reads() }

// writes reports whether the row may be written.
func (r *rules) writes(key string) bool { return r.keys.find(key) == levelWrite }

// writesAll reports whether all rows below the prefix may be deleted at once.
func (r *rules) writesAll(prefix string) bool { return r.keys.writesAll(prefix) }

// add takes the rules of one kind. Kinds that have no effect here are accepted as they are, so that a policy works in Consul too.
func (r *rules) add(e entry) error {
	switch e.name {
	case "key", "key_prefix":
	case "acl", "keyring", "operator", "mesh", "peering", "session", "session_prefix", "agent", "agent_prefix", "node",
		"node_prefix", "service", "service_prefix", "event", "event_prefix", "query", "query_prefix", "identity", "identity_prefix":
		r.ignored[e.name] = true
		return nil
	default:
		return mistake(e.line, "unknown rule; use key and key_prefix")
	}
	if e.text != nil {
		return mistake(e.line, "a rule is a block: %s \"NAME\" { policy = \"read\" }", e.name)
	}
	for _, rule := range e.entries {
		l, err := ruleLevel(rule)
		if err != nil {
			return err
		}
		r.keys.add(rule.name, l, e.name == "key_prefix")
	}
	return nil
}

var errLevel = errors.New(`policy is "read", "write", "list" or "deny"`)

// ruleLevel reads the block of one rule.
func ruleLevel(rule entry) (found level, err error) {
	if rule.text != nil {
		return 0, mistake(rule.line, `the name is missing: write key "NAME" { policy = "read" }`)
	}
	for _, e := range rule.entries {
		switch {
		case e.name != "policy":
			return 0, mistake(e.line, "a rule contains only a policy")
		case found != 0:
			return 0, mistake(e.line, "policy occurs twice")
		case e.text == nil || parseLevel(*e.text) == 0:
			return 0, mistake(e.line, "%w", errLevel)
		}
		found = parseLevel(*e.text)
	}
	if found == 0 {
		return 0, mistake(rule.line, "the rule has no policy; %w", errLevel)
	}
	return found, nil
}
