package agentfile

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"kvexpress/internal/kv"
)

// field is a key of a map, and what its value is put into.
type field[T any] struct {
	name string
	set  func(*T, value)
}

// names are those of the fields, for messages.
func names[T any](fields []field[T]) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return list
}

// entry is a key of a map as it stands in the file.
type entry struct {
	key string
	value
}

// entries are those of a map, each key once.
func (v value) entries(want string) ([]entry, bool) {
	m, ok := v.node.(*ast.MappingNode)
	if !ok {
		v.wrong(want)
		return nil, false
	}
	list := make([]entry, 0, len(m.Values))
	lines := make(map[string]int, len(m.Values))
	for _, pair := range m.Values {
		t := pair.Key.GetToken()
		e := entry{key: t.Value, value: value{name: t.Value, node: pair.Value, at: v.lineOf(t), problems: v.problems}}
		if !isScalar(pair.Key) {
			v.problems.add(e.at, "a key is %s; give a word", kindOf(pair.Key))
			continue
		}
		if first := lines[e.key]; first > 0 {
			v.problems.add(e.at, "%s is given twice; it is on line %d too", kv.Quote(e.key), first)
			continue
		}
		lines[e.key] = e.at.line
		list = append(list, e)
	}
	return list, true
}

// read puts the entries of a map into a T. For a key that is not in the table,
// unknown may say more than the nearest that is; it may be nil.
func read[T any](v value, want string, table []field[T], into *T, unknown func(key string) string) (given map[string]place, ok bool) {
	list, ok := v.entries(want)
	given = make(map[string]place, len(list))
	for _, e := range list {
		known := false
		for _, f := range table {
			if known = f.name == e.key; known {
				given[e.key] = e.at
				f.set(into, e.value)
				break
			}
		}
		if known {
			continue
		}
		more := ""
		if near := Nearest(e.key, names(table)); near != "" {
			more = fmt.Sprintf("; did you mean %q?", near)
		}
		if unknown != nil {
			if s := unknown(e.key); s != "" {
				more = "; " + s
			}
		}
		v.problems.add(e.at, "unknown key %s%s", kv.Quote(e.key), more)
	}
	return given, ok
}

// items are those of a list, without a name of their own.
func (v value) items(want string) ([]value, bool) {
	s, ok := v.node.(*ast.SequenceNode)
	if !ok {
		v.wrong(want)
		return nil, false
	}
	list := make([]value, len(s.Values))
	for i, n := range s.Values {
		list[i] = value{name: v.name, node: n, at: v.lineOf(n.GetToken()), problems: v.problems}
	}
	return list, true
}

// lineOf is the place of a token in the same file.
func (v value) lineOf(t *token.Token) place {
	at := v.at
	if t != nil && t.Position != nil {
		at.line = t.Position.Line
	}
	return at
}

func isScalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return true
	}
	return false
}

// kindOf says for people what a node is.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode, nil:
		return "empty"
	}
	return "a single value"
}
