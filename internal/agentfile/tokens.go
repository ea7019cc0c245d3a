package agentfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// vetTokens makes tokens safe to be parsed, and refuses what this file has no use
// for. The error belongs to the line.
func vetTokens(tokens token.Tokens) (line int, err error) {
	if len(tokens) > maxTokens {
		return 1, errTooMuch
	}
	var open []level
	var before *token.Token // nil at the beginning
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		if err := unused(t, before); err != nil {
			return t.Position.Line, err
		}
		if err := severalLines(t, before); err != nil {
			return t.Position.Line, err
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			open = append(open, level{})
		case token.CollectEntryType: // what stood before the comma is closed
			open = open[:bracket(open)+1]
		case token.MappingEndType, token.SequenceEndType:
			open = open[:max(0, bracket(open))]
		case token.SequenceEntryType:
			open = opened(open, t.Position.Column)
		case token.MappingValueType:
			if before == nil {
				break
			}
			if len(before.Value) > maxKey {
				return t.Position.Line, fmt.Errorf("a key has %d bytes, at most %d are allowed", len(before.Value), maxKey)
			}
			open = opened(open, before.Position.Column)
			if inner := &open[len(open)-1]; inner.keys < maxKeys {
				inner.keys++
			} else {
				return t.Position.Line, fmt.Errorf("a map has more than %d keys; nothing here needs as many", maxKeys)
			}
		}
		if len(open) > maxDepth {
			return t.Position.Line, errors.New("lists and maps are nested too deeply; nothing here needs more than four levels")
		}
		before = t
	}
	return 0, nil
}

// level is a map, a list or a bracket that is not closed yet.
type level struct {
	column int // of its keys or dashes; 0 for a bracket
	keys   int
}

// bracket is where the innermost bracket is; -1 if none is open.
func bracket(open []level) int {
	for i := len(open) - 1; i >= 0; i-- {
		if open[i].column == 0 {
			return i
		}
	}
	return -1
}

// opened adds a key or a dash: those to its right are closed by it, one in the same
// column is of the same map or list.
func opened(open []level, column int) []level {
	for len(open) > 0 && open[len(open)-1].column > column {
		open = open[:len(open)-1]
	}
	if len(open) == 0 || open[len(open)-1].column < column {
		open = append(open, level{column: column})
	}
	return open
}

// unused refuses parts of YAML that are more often a missing quote than meant.
func unused(t, before *token.Token) error {
	if before != nil && before.Type == token.DocumentEndType {
		return errors.New("the document has ended before this (...); remove that line")
	}
	switch t.Type {
	case token.AnchorType, token.AliasType:
		return fmt.Errorf("a value that begins with %s would be an anchor or alias, which are not taken here; if it is text, put it in quotes", t.Value)
	case token.MergeKeyType:
		return errors.New("merge keys (<<) are not taken here; write out what they stand for")
	case token.TagType:
		return errors.New("a value that begins with ! would be a tag, which are not taken here; if it is text, put it in quotes")
	case token.MappingKeyType:
		return errors.New("a key that begins with ? is not taken here; write \"name: value\"")
	case token.DirectiveType:
		return errors.New("lines that begin with % are not taken here; remove it")
	case token.DocumentHeaderType:
		if before != nil {
			return errors.New("a second document begins here; one file holds one, so remove the ---, or use files in conf.d")
		}
	}
	return nil
}

// severalLines refuses two kinds of values that go on over several lines, which the
// library does not read as YAML means them: it leaves out white space after a doubled
// single quote at the beginning of a line, and takes some comments for text. A wrong
// command must not come out of that. Programs that write YAML mostly break lines
// elsewhere.
func severalLines(t, before *token.Token) error {
	if before != nil && (before.Type == token.LiteralType || before.Type == token.FoldedType) {
		return nil // below a | or > it is as it stands there
	}
	_, rest, several := strings.Cut(strings.TrimSpace(t.Origin), "\n")
	if !several {
		return nil
	}
	switch t.Type {
	case token.SingleQuoteType:
		for one := range strings.SplitSeq(rest, "\n") {
			line := strings.TrimLeft(one, " ")
			after := line
			for strings.HasPrefix(after, "''") {
				after = after[2:]
			}
			if after != line && (after == "" || after[0] == ' ') {
				return errors.New("a line within single quotes begins with '' and a space; write the value in one line")
			}
		}
	case token.StringType:
		if strings.Contains(t.Origin, " #") {
			return errors.New("a value that goes on over several lines has a # in it; write it in one line, and in quotes if the # is no comment")
		}
	}
	return nil
}
