// Package safetext makes text from outside fit to print: what a server, a program, a file or
// another machine says must not move a cursor, hide a part of itself or fill a screen. It
// imports nothing of this module.
package safetext

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mark is what stands for the rest of a text that was cut.
const mark = "…"

// Line is s as one line, of at most so many bytes and a mark; 0: of any length. What does
// not print, such as newlines, terminal controls, direction overrides and broken UTF-8, is
// escaped as in Go.
func Line(s string, most int) string {
	if (most <= 0 || len(s) <= most) && !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		shown := string(r)
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], shown) {
			shown = fmt.Sprintf(`\x%02x`, s[i])
		} else if !unicode.IsPrint(r) {
			shown = strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		}
		if most > 0 && b.Len()+len(shown) > most {
			b.WriteString(mark)
			break
		}
		b.WriteString(shown)
	}
	return b.String()
}

// Joined is Line for a text of several lines, such as joined errors: "; " is between them.
func Joined(s string, most int) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return Line(strings.Join(lines, "; "), most)
}

// Cut shortens s to at most so many bytes, at the boundary of a rune, and marks that it did.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := max(most-len(mark), 0)
	for back := 0; back < utf8.UTFMax-1 && end > 0 && !utf8.RuneStart(s[end]); back++ {
		end--
	}
	return s[:end] + mark
}

// unprintable holds for U+FFFD as well, which is how broken UTF-8 shows.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
