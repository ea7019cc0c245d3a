package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"kvexpress/internal/kv"
)

// Kinds of values, in the words of messages.
const single, aList, aMap, nothing = "one value", "a list", "a map", "empty"

// value is the value of a key in a file. Its methods convert it, or report a problem.
type value struct {
	*loader
	name string // the key
	node *yaml.Node
	line int
}

// readMap reads a file with one YAML document, a map, and reports syntax errors. See read.
func (l *loader) readMap(b []byte, setters map[string]func(value)) (lines map[string]int) {
	var docs []yaml.Node
	err := yaml.Load(b, &docs, yaml.WithAllDocuments())
	var bad *yaml.LoadError
	switch {
	case errors.As(err, &bad):
		count := func(b []byte) int { return 1 + bytes.Count(b, []byte("\n")) }
		line, within := min(bad.Mark.Line, count(bytes.TrimSpace(b))), "" // not after the end
		if line == 0 {
			line = count(b[:min(bad.Mark.Index, len(b))])
		}
		if bad.ContextMsg != "" {
			within = fmt.Sprintf(" %s from line %d", bad.ContextMsg, bad.ContextMark.Line)
		}
		const remedy = "check the indentation, and put text with special characters in quotes"
		l.add(line, "not valid YAML%s: %s; %s", within, kv.Quote(bad.Message), remedy)
	case err != nil:
		l.add(0, "%w", err)
	case len(docs) == 0 || docs[0].Content[0].Tag == "!!null":
		l.add(1, "the file is empty; give at least %s", l.least)
	case len(docs) > 1:
		l.add(docs[1].Line, "a second document begins here; put it into a file in %s", fragments)
	default:
		root := docs[0].Content[0]
		return value{l, "the file", root, root.Line}.read(setters)
	}
	return nil
}

// kindOf returns the kind of a node. Aliases are never followed: a small file with them can expand to gigabytes.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return "an anchor (&) or alias (*)"
	case n.Style&yaml.TaggedStyle != 0:
		return "tagged (!)"
	case n.Kind == yaml.MappingNode:
		return aMap
	case n.Kind == yaml.SequenceNode:
		return aList
	case n.Tag == "!!null":
		return nothing
	}
	return single
}

// bad reports a problem of the value.
func (v value) bad(format string, args ...any) {
	v.add(v.line, "%s: "+format, append([]any{v.name}, args...)...)
}

// is reports a problem and returns false if the value has another kind.
func (v value) is(kind string) bool {
	switch got := kindOf(v.node); {
	case got == kind:
		return true
	case got == nothing:
		v.bad("no value; give %s, or remove the key", kind)
	case kind == single:
		v.bad("this is %s; give one value, in quotes if it is text", got)
	default:
		v.bad("this is %s; give %s", got, kind)
	}
	return false
}

// items returns the values of a list.
func (v value) items() []value {
	if !v.is(aList) {
		return nil
	}
	list := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		list[i] = value{v.loader, v.name, n, n.Line}
	}
	return list
}

// each calls f for each key of a map. It returns the lines of the keys, or nil if the value is not a map.
func (v value) each(f func(value)) (lines map[string]int) {
	if !v.is(aMap) {
		return nil
	}
	lines = map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := v.node.Content[i]
		if kind := kindOf(key); kind != single {
			v.add(key.Line, "a key is %s; give a word", kind)
		} else if first, twice := lines[key.Value]; twice {
			v.add(key.Line, "key %s is given twice; it is on line %d too", kv.Quote(key.Value), first)
		} else {
			lines[key.Value] = key.Line
			f(value{v.loader, key.Value, v.node.Content[i+1], key.Line})
		}
	}
	return lines
}

// read calls the setter of each key of a map, and reports unknown keys. It returns the lines as each does.
func (v value) read(setters map[string]func(value)) (lines map[string]int) {
	return v.each(func(e value) {
		if set, known := setters[e.name]; known {
			set(e)
			return
		}
		remedy := v.hint(e.name)
		if near := Nearest(e.name, slices.Sorted(maps.Keys(setters))); remedy == "" && near != "" {
			remedy = fmt.Sprintf("; did you mean %q?", near)
		}
		v.add(e.line, "unknown key %s%s", kv.Quote(e.name), remedy)
	})
}

// one is the setter of a key with one printable line. Numbers are parsed from their text in the file.
func one[T any](to *T, parse func(string) (T, error)) func(value) {
	return func(v value) {
		if !v.is(single) {
			return
		}
		got, err := parse(v.node.Value)
		if name := (*kv.NameError)(nil); errors.As(err, &name) { // the message names the key already
			err = fmt.Errorf("%s: %s", kv.Quote(name.Name), name.Reason)
		}
		if strings.ContainsFunc(v.node.Value, unprintable) { // may be a secret
			err = errors.New("the value has characters that are not printable; give one printable line")
		}
		if err != nil {
			v.bad("%w", err)
			return
		}
		*to = got
	}
}
