package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"kvexpress/internal/kv"
)

const maxShown = 20 // problems in a message

// Error has all problems of the files, in their order. Its message has one line for each problem, "file:line: problem
// and remedy", and at most 21 lines.
type Error struct {
	Problems []error
}

func (e *Error) Error() string {
	text := errors.Join(e.Problems[:min(len(e.Problems), maxShown)]...).Error()
	if more := len(e.Problems) - maxShown; more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	return text
}

type problem struct {
	file, line int
	error
}

// at is a line of the current file, for messages.
func (l *loader) at(line int) string {
	if line == 0 {
		return l.file
	}
	return fmt.Sprintf("%s:%d", l.file, line)
}

// add reports a problem at a line, or of the whole file for 0. The text must be one printable line.
func (l *loader) add(line int, format string, args ...any) {
	err := fmt.Errorf("%s: "+format, append([]any{l.at(line)}, args...)...)
	l.problems = append(l.problems, problem{len(l.config.Files), line, err})
}

// err is an *Error, or nil without problems.
func (l *loader) err() error {
	if len(l.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(l.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	e := &Error{}
	for _, p := range l.problems {
		e.Problems = append(e.Problems, p.error)
	}
	return e
}

// printable quotes a path if it has characters that do not print.
func printable(path string) string {
	if strings.ContainsFunc(path, unprintable) {
		return kv.Quote(path)
	}
	return path
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
