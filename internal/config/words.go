package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

const (
	wordNode, wordDatacenter = "node", "datacenter" // defined without vars
	wordLetters              = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)

// readVars reads vars, a map of {word} to its text.
func (l *loader) readVars(v value) {
	v.each(func(e value) {
		name := e.name
		e.name = "vars: " + kv.Quote(name)
		switch {
		case name == wordNode || name == wordDatacenter || "{"+name+"}" == install.FileMark:
			e.bad("the word is already defined; choose another")
		case strings.Trim(name, wordLetters) != "" || name == "":
			e.bad("not a word; use letters, digits, _ and -")
		default:
			l.words[name] = name // a refused value is reported once, not at each use
			one(new(string), func(s string) (string, error) { l.words[name] = s; return s, nil })(e)
		}
	})
}

// fill replaces each {word} of a key or a file name.
func (l *loader) fill(s string) (string, error) {
	var b strings.Builder
	for {
		before, rest, open := strings.Cut(s, "{")
		b.WriteString(before)
		word, after, closed := strings.Cut(rest, "}")
		text, known := l.words[word]
		switch {
		case strings.Contains(before, "}") || open && (!closed || strings.Contains(word, "{")):
			return "", fmt.Errorf("a { or } stands alone; write {%s} for the node's name", wordNode)
		case b.Len() > maxPath:
			return "", fmt.Errorf("the value has more than %d bytes; shorten it", maxPath)
		case !open:
			return b.String(), nil
		case !known:
			return "", l.unknownWord(word)
		}
		b.WriteString(text)
		s = after
	}
}

func (l *loader) unknownWord(word string) error {
	remedy := "add it to vars in " + l.main
	if word == wordDatacenter {
		remedy = "set datacenter in " + l.main
	} else if near := Nearest(word, slices.Sorted(maps.Keys(l.words))); near != "" {
		remedy = "did you mean {" + near + "}?"
	}
	return fmt.Errorf("%s is not known; %s", kv.Quote("{"+word+"}"), remedy)
}
