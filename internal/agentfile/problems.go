package agentfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"kvexpress/internal/kv"
)

// maxShown is how many problems a message lists.
const maxShown = 20

// Error is all that is wrong with the files, in their order. Its message has one
// line for each problem, "file:line: what and remedy", and at most 21 lines.
type Error struct {
	Problems []error
}

func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == maxShown {
			fmt.Fprintf(&b, "\nand %d more", len(e.Problems)-maxShown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Unwrap makes errors.Is and errors.As find the causes.
func (e *Error) Unwrap() []error { return e.Problems }

// source is one file. Its name is printable.
type source struct {
	name  string
	order int // the main file is 0
}

// place is where something stands. Line 0 is the file as a whole.
type place struct {
	source
	line int
}

func (p place) String() string {
	if p.line == 0 {
		return p.name
	}
	return fmt.Sprintf("%s:%d", p.name, p.line)
}

type problem struct {
	place
	err error
}

// problems collects what is wrong, so that all of it can be said at once.
type problems struct {
	list []problem
}

// add notes what is wrong at a place. The text is one printable line.
func (p *problems) add(at place, format string, args ...any) {
	p.list = append(p.list, problem{place: at, err: fmt.Errorf("%s: "+format, append([]any{at}, args...)...)})
}

// err is nil if nothing is wrong, else an *Error. Problems are found in another
// order than that of the lines: keys and files are looked at when all marks are
// known.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.line, b.line))
	})
	e := &Error{Problems: make([]error, len(p.list))}
	for i, one := range p.list {
		e.Problems[i] = one.err
	}
	return e
}

// printable is a path as it is shown: quoted only if it would spoil a line.
func printable(path string) string {
	if strings.ContainsFunc(path, unprintable) {
		return kv.Quote(path)
	}
	return path
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
