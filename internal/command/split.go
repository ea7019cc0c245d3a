package command

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Split turns a command line into a program and its arguments, without a shell: $, *, ~, ;, |, > and # have no meaning.
//
//   - White space separates words.
//   - Single and double quotes group, also in the middle of a word; "" is an
//     empty argument.
//   - Within single quotes everything is literal. Within double quotes \" and
//     \\ stand for " and \.
//   - Elsewhere a backslash before a quote, a space or a tab makes that
//     character literal; before anything else, and at the end, it is itself.
//
// So a line without quotes and backslashes is split as in kvexpress 1.x. It is an error if the line has no program, a NUL, or
// a quote that is not closed. The error does not repeat the line.
func Split(s string) ([]string, error) {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return nil, fmt.Errorf("command line, position %d: a NUL byte is not allowed", i+1)
	}
	var (
		argv   []string
		word   []byte
		inWord bool // true for "" too
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
		return nil, fmt.Errorf("command line, position %d: the quote %c is not closed", opened+1, quote)
	}
	if inWord {
		argv = append(argv, string(word))
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("command line: the program is empty")
	}
	return argv, nil
}

// escapes reports whether a backslash makes next literal inside this quote, or outside quotes.
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

// ShellSyntax returns the first word of a command line that only a shell understands, such as && or 2>/dev/null; "" if there is
// none. Split would pass it to the program. Quoted text is for the program.
func ShellSyntax(line string) string {
	if !strings.ContainsAny(line, "|&;<>$`") { // nearly always: no regular expression is made
		return ""
	}
	inQuotes := regexp.MustCompile(`\\['" ]|'[^']*'|"(\\.|[^"\\])*"`)
	plain := inQuotes.ReplaceAllStringFunc(line, func(s string) string { return strings.Repeat("_", len(s)) })
	// Bare; a redirection; within a word; at its end.
	syntax := regexp.MustCompile("^([|&;]|[0-9]*&?[<>].*|.*(&&|[|][|]|[$][(]|[$]{?[A-Za-z_]|`).*|.+[;&])$")
	at := 0
	for _, word := range strings.Fields(plain) {
		at += strings.Index(plain[at:], word)
		end := at + len(word)
		if syntax.MatchString(word) {
			return line[at:end]
		}
		at = end
	}
	return ""
}
