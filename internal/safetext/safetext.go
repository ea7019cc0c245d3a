// Package safetext makes text from outside safe to print: text from a server, a program or a file must not move the cursor, hide
// a part of itself or fill the screen. It also removes secrets. It imports nothing of this module.
package safetext

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// mark replaces the rest of a cut text.
const mark = "…"

// Line returns s on one line, with at most so many bytes and a mark; 0: no limit. It escapes unprintable characters as Go does,
// such as newlines, terminal controls, direction overrides and invalid UTF-8.
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

// Joined is Line for a text of several lines, such as joined errors, joined by "; ".
func Joined(s string, most int) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return Line(strings.Join(lines, "; "), most)
}

// Lines is Line for each line of a text. Newlines and tabs stay. A carriage return, as in progress bars, ends a line.
func Lines(s string) string {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s), "\n")
	for i, line := range lines {
		cells := strings.Split(line, "\t")
		for n := range cells {
			cells[n] = Line(cells[n], 0)
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return strings.Join(lines, "\n")
}

// End returns the end of a text, at most so many bytes. It leaves out the first line, which may be half a secret, but not an
// only one.
func End(s string, most int) string {
	s = strings.ToValidUTF8(s[max(0, len(s)-most):], "")
	if _, whole, more := strings.Cut(s, "\n"); more && whole != "" {
		return whole
	}
	return s
}

// secrets are the secrets of the process, which Redact removes from every text that leaves it.
var secrets sync.Map //nolint:gochecknoglobals // a command's output can hold a token that another package has read

// Hide makes Redact remove a secret of at least 6 bytes. A shorter one would be a part of many words.
func Hide(secret string) {
	if len(secret) >= 6 {
		secrets.Store(secret, nil)
	}
}

// Redact replaces secrets, and user and password in URLs.
func Redact(s string) string {
	secrets.Range(func(secret, _ any) bool {
		text, _ := secret.(string) // nothing else is stored
		s = strings.ReplaceAll(s, text, "(secret)")
		return true
	})
	if strings.Contains(s, "@") {
		s = regexp.MustCompile(`://[^/@\s]*@`).ReplaceAllString(s, "://(secret)@")
	}
	return s
}

// Cut shortens s to at most so many bytes with a mark, at the boundary of a rune.
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

// unprintable includes U+FFFD, which replaces invalid UTF-8.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
