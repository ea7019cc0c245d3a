package agentfile

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"kvexpress/internal/command"
	"kvexpress/internal/kv"
)

// longest is the most of every time.
const longest = 24 * time.Hour

// value is what stands behind a key, or one of a list. Its methods give it as
// what it has to be, or note a problem and are false.
type value struct {
	name     string // the key
	node     ast.Node
	at       place
	problems *problems
}

// bad notes what is wrong with the value; the key's name is put before it.
func (v value) bad(format string, args ...any) {
	v.problems.add(v.at, "%s: "+format, append([]any{v.name}, args...)...)
}

// wrong notes that the value is of another kind than wanted.
func (v value) wrong(want string) {
	hint := ""
	switch n := v.node.(type) {
	case *ast.NullNode, nil:
		v.problems.add(v.at, "%s has no value; give %s, or remove it", v.name, want)
		return
	case *ast.MappingNode:
		if n.IsFlowStyle {
			hint = "; text that begins with { belongs in quotes"
		}
	}
	v.problems.add(v.at, "%s is %s; give %s%s", v.name, kindOf(v.node), want, hint)
}

// raw is the text of a single value. Numbers, true and false are the text that
// stands there: what they mean, the key decides. It shares no memory with the
// file.
func (v value) raw(want string) (string, bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return strings.Clone(n.Value), true
	case *ast.LiteralNode:
		if n.Value == nil {
			return "", true
		}
		return strings.Clone(n.Value.Value), true
	}
	if v.node == nil || !isScalar(v.node) {
		v.wrong(want)
		return "", false
	}
	return strings.Clone(v.node.GetToken().Value), true
}

// text is one printable line, which may be empty.
func (v value) text(want string) (string, bool) {
	s, ok := v.raw(want)
	if ok && strings.ContainsFunc(s, unprintable) {
		v.bad("%s is not one printable line; give %s", kv.Quote(s), want)
		return "", false
	}
	return s, ok
}

// word is one printable word: not empty, no space, no comma. It is not repeated if
// it is refused: an address may hold a password.
func (v value) word(want string) (string, bool) {
	s, ok := v.raw(want)
	if ok && (s == "" || strings.ContainsAny(s, " ,") || strings.ContainsFunc(s, unprintable)) {
		v.bad("this is not %s", want)
		return "", false
	}
	return s, ok
}

// path is an absolute path. It is not repeated if it is refused: it may be the token
// that belongs into the file.
func (v value) path(want string) (string, bool) {
	s, ok := v.raw(want)
	if ok && (!filepath.IsAbs(s) || strings.ContainsFunc(s, unprintable)) {
		v.bad("this is not %s", want)
		return "", false
	}
	return filepath.Clean(s), ok
}

// count is a whole number, in decimal digits.
func (v value) count(most int) (int, bool) {
	want := fmt.Sprintf("a whole number from 0 to %d", most)
	s, ok := v.text(want)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > uint64(most) {
		v.bad("%s is not %s", kv.Quote(s), want)
		return 0, false
	}
	return int(n), true
}

// flag is a switch.
func (v value) flag() (on, ok bool) {
	const want = "true or false"
	s, ok := v.text(want)
	if !ok {
		return false, false
	}
	switch s {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	}
	v.bad("%s is not %s", kv.Quote(s), want)
	return false, false
}

// duration is a time of at most longest.
func (v value) duration(least time.Duration) (time.Duration, bool) {
	const want = "a time such as 30s or 5m"
	s, ok := v.text(want)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if _, bare := strconv.Atoi(s); bare == nil && s != "0" {
		v.bad("%s has no unit; write %ss if seconds are meant", kv.Quote(s), s)
		return 0, false
	}
	if err != nil {
		v.bad("%s is not %s", kv.Quote(s), want)
		return 0, false
	}
	if d < least || d > longest {
		v.bad("%s is out of range; it may be from %s to %s", kv.Quote(s), short(least), short(longest))
		return 0, false
	}
	return d, true
}

// short is a duration without the zeros at its end: 24h, not 24h0m0s.
func short(d time.Duration) string {
	s := strings.TrimSuffix(d.String(), "m0s")
	if s != d.String() {
		s += "m"
	}
	if h, ok := strings.CutSuffix(s, "h0m"); ok {
		s = h + "h"
	}
	return s
}

// argv is a command: one line, which is split without a shell, or a list of words.
func (v value) argv() ([]string, bool) {
	const want = "a command, or a list of its words"
	list, isList := v.node.(*ast.SequenceNode)
	if !isList {
		s, ok := v.raw(want)
		if !ok {
			return nil, false
		}
		argv, err := command.Split(s)
		if err != nil {
			v.bad("%w", err)
			return nil, false
		}
		return argv, true
	}
	switch n := len(list.Values); {
	case n == 0:
		v.bad("the list is empty; give the words of a command, or remove it")
		return nil, false
	case n > command.MaxArgs:
		v.bad("it has %d words, at most %d are allowed", n, command.MaxArgs)
		return nil, false
	}
	items, ok := v.items(want)
	argv := make([]string, len(items))
	for i, item := range items {
		item.name = "a word of " + v.name
		s, good := item.raw("text")
		if good && strings.ContainsRune(s, 0) {
			item.bad("a NUL byte is not allowed")
			good = false
		}
		argv[i], ok = s, ok && good
	}
	if ok && argv[0] == "" {
		v.bad("the program's name is empty")
		return nil, false
	}
	return argv, ok
}
