// Package render prints for people: tables, differences, progress, colour, and the words for counts and times. It also writes the
// JSON of --json. It knows no command, no flag and no store: of this module it imports safetext alone.
package render

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/safetext"
)

// Line is a text from outside, as one line that can neither move the cursor nor hide a part of itself.
func Line(s string) string { return safetext.Line(s, 0) }

// TabbedLine is Line for a line of content: its newline goes, its tabs stay.
func TabbedLine(line string) string {
	cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	for i, cell := range cells {
		cells[i] = Line(cell)
	}
	return strings.Join(cells, "\t")
}

// Error is the text of an error as one line, also of joined errors.
func Error(err error) string { return safetext.Joined(err.Error(), 0) }

// Plural is a count with its noun: "1 line", "2 lines".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Version names a version in a sentence. 0 is a version without a manifest, as 1.x publishes it.
func Version(v uint64) string {
	if v == 0 {
		return "an unmanaged version"
	}
	return fmt.Sprintf("version %d", v)
}

// Number is a version in a table, or a word in place of 0.
func Number(v uint64, otherwise string) string {
	if v == 0 {
		return otherwise
	}
	return strconv.FormatUint(v, 10)
}

// Dash is a cell of a table, with "-" for an empty one.
func Dash(s string) string { return cmp.Or(s, "-") }

// Short is the first 12 digits of a checksum, enough for people to compare.
func Short(sha string) string { return sha[:min(12, len(sha))] }

// Time is a time in UTC, to the second.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Ago is how long ago a time was, such as "3m12s ago"; "unknown" for the zero time.
func Ago(since, now time.Time) string {
	if since.IsZero() {
		return "unknown"
	}
	return Span(now.Sub(since)) + " ago"
}

// Span is a duration in its two largest units: 3m12s, 2d4h. Below a second it is 0s.
func Span(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		n := d / u.size
		if n <= 0 {
			continue
		}
		text := fmt.Sprintf("%d%s", n, u.name)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "0s"
}

// Took is a duration in one unit: 312 µs, 4.2 ms, 212 ms, 1.31 s. From two minutes on it is Span.
func Took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return Span(d)
}
