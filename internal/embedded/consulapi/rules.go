package consulapi

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// level is what a rule grants. Of two rules on the same name the one that comes first here counts.
type level int

const (
	levelDeny level = iota + 1
	levelWrite
	levelList
	levelRead
)

func parseLevel(text string) level {
	switch strings.ToLower(text) {
	case "deny":
		return levelDeny
	case "write":
		return levelWrite
	case "list":
		return levelList
	case "read":
		return levelRead
	default:
		return 0
	}
}

func (l level) reads() bool { return l == levelRead || l == levelList || l == levelWrite }

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

// writesAll reports whether everything that begins with prefix may be written: it is granted, and no
// rule below takes it back.
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

// rules are what a policy allows on keys. What no rule speaks of is denied. They are not changed any more.
type rules struct {
	keys matcher
	idle map[string]bool // kinds of rules that have no effect here
}

// reads reports whether the row may be read.
func (r *rules) reads(key string) bool { return r.keys.find(key).reads() }

// writes reports whether the row may be written.
func (r *rules) writes(key string) bool { return r.keys.find(key) == levelWrite }

// writesAll reports whether all rows below may be deleted at once.
func (r *rules) writesAll(prefix string) bool { return r.keys.writesAll(prefix) }

// add takes the rules of one kind.
func (r *rules) add(e entry) error {
	isKey := e.name == "key" || e.name == "key_prefix"
	switch e.name {
	case "acl", "keyring", "operator", "mesh", "peering":
		if e.text == nil || parseLevel(*e.text) == 0 || parseLevel(*e.text) == levelList {
			return mistake(e.line, "%s is \"read\", \"write\" or \"deny\"", e.name)
		}
	case "key", "key_prefix", "session", "session_prefix", "agent", "agent_prefix", "node", "node_prefix",
		"service", "service_prefix", "event", "event_prefix", "query", "query_prefix", "identity", "identity_prefix":
		if e.text != nil {
			return mistake(e.line, "a rule is a block: %s \"NAME\" { policy = \"read\" }", e.name)
		}
		for _, rule := range e.entries {
			l, err := ruleLevel(rule, isKey)
			if err != nil {
				return err
			}
			if isKey {
				r.keys.add(rule.name, l, e.name == "key_prefix")
			}
		}
	default:
		return mistake(e.line, "there is no such rule; those with an effect are key and key_prefix")
	}
	if !isKey {
		r.idle[e.name] = true
	}
	return nil
}

var errLevel = errors.New(`policy is "read", "write", "list" or "deny", and "list" is for keys alone`)

// ruleLevel reads the block of one rule. Rules without an effect here may have intentions besides.
func ruleLevel(rule entry, isKey bool) (level, error) {
	if rule.text != nil {
		return 0, mistake(rule.line, `what the rule is about is missing: write key "NAME" { policy = "read" }`)
	}
	found := level(0)
	for _, e := range rule.entries {
		switch {
		case e.name == "intentions" && !isKey:
			continue
		case e.name != "policy":
			return 0, mistake(e.line, "a rule has nothing but a policy")
		case found != 0:
			return 0, mistake(e.line, "policy is there twice")
		case e.text == nil:
			return 0, mistake(e.line, "%w", errLevel)
		}
		if found = parseLevel(*e.text); found == 0 || found == levelList && !isKey {
			return 0, mistake(e.line, "%w", errLevel)
		}
	}
	if found == 0 {
		return 0, mistake(rule.line, "the rule has no policy; %w", errLevel)
	}
	return found, nil
}
