package consulapi

import (
	"errors"
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

// rules are what a policy allows on keys. Everything else is denied. They are immutable.
type rules map[ruleName]level

type ruleName struct {
	name   string
	prefix bool // of the keys; else it is the key
}

// find returns the rule for a key: the exact one, or else the one with the longest prefix; 0 if there is none.
func (r rules) find(key string) level {
	if l := r[ruleName{name: key}]; l != 0 {
		return l
	}
	return r.below(key)
}

// below returns the rule of the longest prefix of key.
func (r rules) below(key string) (found level) {
	longest := -1
	for of, l := range r {
		if of.prefix && len(of.name) > longest && strings.HasPrefix(key, of.name) {
			longest, found = len(of.name), l
		}
	}
	return found
}

// reads reports whether the row may be read.
func (r rules) reads(key string) bool {
	l := r.find(key)
	return l == levelRead || l == levelList || l == levelWrite
}

// writes reports whether the row may be written.
func (r rules) writes(key string) bool { return r.find(key) == levelWrite }

// writesAll reports whether everything that begins with prefix may be written, and no rule below denies it.
func (r rules) writesAll(prefix string) bool {
	for of, l := range r {
		if l != levelWrite && strings.HasPrefix(of.name, prefix) {
			return false
		}
	}
	return r.below(prefix) == levelWrite
}

// add takes the rule in a block.
func (r rules) add(b block) error {
	found := level(0)
	if b.text != nil || len(b.labels) != 2 {
		return mistake(b.line, `write a rule as %s "NAME" { policy = "read" }`, b.labels[0])
	}
	for _, e := range b.inside {
		switch {
		case e.labels[0] != "policy":
			return mistake(e.line, "a rule contains only a policy")
		case found != 0:
			return mistake(e.line, "policy occurs twice")
		case e.text == nil || parseLevel(*e.text) == 0:
			return mistake(e.line, "%w", errLevel)
		}
		found = parseLevel(*e.text)
	}
	if found == 0 {
		return mistake(b.line, "the rule has no policy; %w", errLevel)
	}
	name := ruleName{b.labels[1], b.labels[0] == "key_prefix"}
	if old := r[name]; old != 0 {
		found = min(found, old)
	}
	r[name] = found
	return nil
}

var errLevel = errors.New(`policy is "read", "write", "list" or "deny"`)
