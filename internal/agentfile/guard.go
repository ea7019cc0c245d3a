package agentfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of one file. The YAML library takes quadratic time and memory for some
// texts (64 KiB of "[" are 16 s and 6 GB), and its stack grows with the depth. What
// is let through to it costs a second at the very most.
const (
	maxFile   = 1 << 20 // bytes
	maxLine   = 4096    // bytes
	maxBlank  = 100     // blank lines in a row
	maxTokens = 50_000  // words and marks, as the library counts them
	maxDepth  = 16      // a list in a target is at 4
	maxKeys   = 200     // in one map
	maxKey    = 64      // bytes: all keys' paths are kept
)

// errTooMuch is a file with too much in it, though not in bytes.
var errTooMuch = errors.New("there is too much in one file; spread the targets over files in conf.d")

// vetText makes a text safe to be split into tokens, and gives it lines that end as
// the library counts them. The error belongs to the line.
func vetText(b []byte) (text string, line int, err error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	text = strings.ReplaceAll(string(b), "\r\n", "\n")
	blank, marks := 0, 0
	for one := range strings.SplitSeq(text, "\n") {
		line++
		if len(one) > maxLine {
			return "", line, fmt.Errorf("the line has %d bytes, at most %d are allowed; fold it, or put a long command into a script", len(one), maxLine)
		}
		if strings.Trim(one, " \t") != "" {
			blank = 0
		} else if blank++; blank > maxBlank {
			return "", line, fmt.Errorf("there are more than %d blank lines in a row; remove some", maxBlank)
		}
		if !tabs(one) {
			return "", line, errors.New("a tab is not allowed here; write spaces, or \\t between double quotes")
		}
		if r := strings.IndexFunc(one, notText); r >= 0 {
			bad, _ := utf8.DecodeRuneInString(one[r:])
			if bad == utf8.RuneError {
				return "", line, errors.New("this is not UTF-8 text")
			}
			return "", line, fmt.Errorf("the control character %+q is not allowed", bad)
		}
		// Each of these is at most a token of its own and the end of another.
		if marks += countMarks(one); marks > 2*maxTokens {
			return "", line, errTooMuch
		}
	}
	return text, 0, nil
}

func notText(r rune) bool { return r == utf8.RuneError || (unicode.IsControl(r) && r != '\t') }

// tabs reports whether the tabs of a line are only where they mean nothing: at its
// end, before a comment and in it. The library leaves out those in a value.
func tabs(line string) bool {
	for i := range len(line) {
		switch line[i] {
		case '#':
			if i == 0 || line[i-1] == ' ' || line[i-1] == '\t' {
				return true // a comment, or in quotes, where tabs are kept
			}
		case '\t':
			if rest := strings.TrimLeft(line[i:], " \t"); rest != "" && rest[0] != '#' {
				return false
			}
		}
	}
	return true
}

func countMarks(line string) int {
	n := 0
	for i := range len(line) {
		switch line[i] {
		case '[', ']', '{', '}', ',', ':', '?', '&', '*', '!', '|', '>', '%', '"', '\'', '#', '<', '@', '`':
			n++
		case '-': // of a ruler or an option it is none
			if i+1 == len(line) || line[i+1] == ' ' || line[i+1] == '\t' {
				n++
			}
		}
	}
	return n
}
