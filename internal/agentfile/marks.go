package agentfile

import (
	"slices"
	"strings"

	"kvexpress/internal/deliver"
	"kvexpress/internal/kv"
)

// The marks that need no vars.
const (
	markNode       = "node"
	markDatacenter = "datacenter"
)

// Limits of vars.
const (
	maxVars    = 64
	maxVarName = 32  // bytes
	maxVarLen  = 256 // bytes: no key is longer
)

// marks are what {words} in keys and file names stand for.
type marks struct {
	values map[string]string
	// bad are those whose value is refused already, where it stands.
	bad  map[string]bool
	main string // name of the main file, for remedies
}

// fill replaces the marks of a value's text. It is false if there is one that has
// no value; then that is noted, here or where the value was to come from.
func (m marks) fill(v value, s string) (string, bool) {
	if !strings.ContainsAny(s, "{}") {
		return s, true
	}
	var b strings.Builder
	ok := true
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		word, rest, closed := strings.Cut(s[i+1:], "}")
		if s[i] == '}' || !closed || strings.Contains(word, "{") {
			v.bad("a { or } stands alone; write {%s} for the node's name, and no brackets for anything else", markNode)
			return "", false
		}
		text, known := m.values[word]
		if !known {
			ok = false
			m.unknown(v, word)
		}
		b.WriteString(text)
		s = rest
	}
	return b.String(), ok
}

func (m marks) unknown(v value, word string) {
	if m.bad[word] {
		return
	}
	if word == markDatacenter {
		v.bad("{%s} is not known; set %s in %s", word, word, m.main)
		return
	}
	var known []string
	for name := range m.values {
		known = append(known, name)
	}
	slices.Sort(known)
	if near := Nearest(word, known); near != "" {
		v.bad("%s is not known; did you mean {%s}?", kv.Quote("{"+word+"}"), near)
		return
	}
	v.bad("%s is not known; add %s to vars in %s, or use one of {%s}", kv.Quote("{"+word+"}"), kv.Quote(word), m.main,
		strings.Join(known[:min(len(known), 5)], "}, {"))
}

// readVars reads the map vars. A name whose value is refused is remembered, so that
// each use of it is not refused too.
func (m marks) readVars(v value) {
	list, _ := v.entries("a map such as {role: web}")
	if len(list) > maxVars {
		v.bad("there are %d, at most %d are allowed", len(list), maxVars)
	}
	for _, e := range list {
		e.name = "vars: " + kv.Quote(e.key)
		m.bad[e.key] = true
		switch {
		case e.key == markNode || e.key == markDatacenter || "{"+e.key+"}" == deliver.FileMark:
			e.bad("{%s} has a meaning already; choose another name", e.key)
			delete(m.bad, e.key)
			continue
		case !varName(e.key):
			e.bad("not a name; use a letter, then letters, digits, _ and -, at most %d in all", maxVarName)
			continue
		}
		s, ok := e.text("text or a number")
		if ok && len(s) > maxVarLen {
			e.bad("%d bytes, at most %d are allowed", len(s), maxVarLen)
			ok = false
		}
		if ok {
			m.values[strings.Clone(e.key)] = s
		}
	}
}

func varName(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxVarName
}
