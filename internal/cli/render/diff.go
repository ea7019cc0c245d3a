package render

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// maxDiff limits the bytes of each side that are compared line by line.
const maxDiff = 2 << 20

// Diff is a unified diff with printable lines, or one line that says why there is none. It is empty if both sides are the same.
func Diff(colour bool, from, to string, before, after []byte) []byte {
	if bytes.Equal(before, after) {
		return nil
	}
	var shown bytes.Buffer
	text, why := Unified(from, to, before, after)
	if why != "" {
		fmt.Fprintln(&shown, sizes(why, before, after))
	}
	for line := range strings.Lines(text) {
		code := diffColour(line)
		fmt.Fprintln(&shown, Paint(colour && code != "", code, TabbedLine(line)))
	}
	return shown.Bytes()
}

// Unified is the diff of two texts as it is, or why it cannot be shown.
func Unified(from, to string, before, after []byte) (text, why string) {
	switch {
	case bytes.IndexByte(before, 0) >= 0 || bytes.IndexByte(after, 0) >= 0:
		return "", "binary content differs"
	case len(before) > maxDiff || len(after) > maxDiff:
		return "", "the content differs and is too large for a diff"
	}
	return udiff.Unified(from, to, string(before), string(after)), ""
}

// sizes describes a difference that cannot be shown.
func sizes(why string, before, after []byte) string {
	return fmt.Sprintf("%s: %s before, %s after", why, Plural(len(before), "byte"), Plural(len(after), "byte"))
}

// EventDiff is the text of 1.x's event: a diff without the two names and the first position.
func EventDiff(before, after []byte) string {
	text, why := Unified("", "", before, after)
	if why != "" {
		return sizes(why, before, after)
	}
	for range 3 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

func diffColour(line string) string {
	switch {
	case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		return Bold
	case strings.HasPrefix(line, "@@"):
		return Cyan
	case strings.HasPrefix(line, "+"):
		return Green
	case strings.HasPrefix(line, "-"):
		return Red
	}
	return ""
}
