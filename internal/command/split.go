package command

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a command line.
const (
	MaxLine = 64 << 10 // bytes
	MaxArgs = 1024     // the program's name included
)

// SyntaxError says why a command line cannot be split. It does not repeat the
// line.
type SyntaxError struct {
	Pos    int // the byte at fault, counted from 1; 0 when it is the whole line
	Reason string
}

func (e *SyntaxError) Error() string {
	if e.Pos == 0 {
		return "command line: " + e.Reason
	}
	return fmt.Sprintf("command line, position %d: %s", e.Pos, e.Reason)
}

// Split turns a command line into a program and its arguments, without a
// shell: $, *, ~, ;, |, > and # mean nothing.
//
//   - White space separates words.
//   - Single and double quotes group, also in the middle of a word; "" is an
//     empty argument.
//   - Within single quotes everything is literal. Within double quotes \" and
//     \\ stand for " and \.
//   - Elsewhere a backslash before a quote, a space or a tab makes that
//     character literal; before anything else, and at the end, it is itself.
//
// So a line without quotes and backslashes is split as kvexpress 1.x did. The
// error is a *SyntaxError: nothing to run, a quote that is not closed, a NUL,
// or a line above MaxLine or MaxArgs.
func Split(s string) ([]string, error) {
	if len(s) > MaxLine {
		return nil, &SyntaxError{Reason: fmt.Sprintf("it has %d bytes, at most %d are allowed", len(s), MaxLine)}
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return nil, &SyntaxError{Pos: i + 1, Reason: "a NUL byte is not allowed"}
	}
	var (
		argv   []string
		word   []byte
		inWord bool // true for "" too, when word is still empty
		quote  rune // the quote that is open, or 0
		opened int  // where
	)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\' && i+1 < len(s) && escapes(quote, s[i+1]):
			word, inWord = append(word, s[i+1]), true
			size = 2
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, opened, inWord = r, i, true
		case quote == 0 && unicode.IsSpace(r):
			if inWord {
				argv, word, inWord = append(argv, string(word)), word[:0], false
			}
		default:
			word, inWord = append(word, s[i:i+size]...), true
		}
		i += size
	}
	if quote != 0 {
		return nil, &SyntaxError{Pos: opened + 1, Reason: fmt.Sprintf("the quote %c is not closed", quote)}
	}
	if inWord {
		argv = append(argv, string(word))
	}
	switch {
	case len(argv) == 0:
		return nil, &SyntaxError{Reason: "it is empty"}
	case argv[0] == "":
		return nil, &SyntaxError{Reason: "the program's name is empty"}
	case len(argv) > MaxArgs:
		return nil, &SyntaxError{Reason: fmt.Sprintf("it has %d words, at most %d are allowed", len(argv), MaxArgs)}
	}
	return argv, nil
}

// escapes reports whether a backslash makes next literal, given the quote that
// is open.
func escapes(quote rune, next byte) bool {
	switch quote {
	case '\'':
		return false
	case '"':
		return next == '"' || next == '\\'
	default:
		return next == '\'' || next == '"' || next == ' ' || next == '\t'
	}
}
