package observe

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxValue is the size in bytes above which a value or message is cut in logs.
const maxValue = 4096

// pair formats one attribute of a log line, with a space before it.
func pair(key, value string) string {
	value = strings.ReplaceAll(cut(value, maxValue), `\`, `\\`)
	return " " + escape(key) + "='" + strings.ReplaceAll(escape(value), "'", `\'`) + "'"
}

// escape makes s one harmless line: what does not print, such as newlines,
// terminal controls, direction overrides and broken UTF-8, is written as in Go.
func escape(s string) string {
	s = cut(s, maxValue)
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x`)
			b.WriteString(strconv.FormatUint(uint64(s[0]), 16)) // always two digits: broken bytes are above 0x7f
		case unprintable(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
		s = s[size:]
	}
	return b.String()
}

// unprintable holds for U+FFFD as well, which is how broken UTF-8 shows.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// cut shortens s to at most limit bytes, at the boundary of a rune, and marks
// that it did.
func cut(s string, limit int) string {
	const mark = "…"
	if len(s) <= limit {
		return s
	}
	end := max(limit-len(mark), 0)
	for back := 0; back < utf8.UTFMax-1 && end > 0 && !utf8.RuneStart(s[end]); back++ {
		end--
	}
	return s[:end] + mark
}
