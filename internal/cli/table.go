package cli

import (
	"strings"
	"time"
	"unicode/utf8"
)

// table lines up rows, of which the first is the head. What does not print is
// written so that it does.
func table(rows [][]string) []string {
	return align(rows, func(_, _ int, cell string) string { return cell })
}

// align is table for a caller who colours cells: paint gets each when it is printable
// and its place is known, row 0 being the head.
func align(rows [][]string, paint func(row, column int, cell string) string) []string {
	const gap = 2
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var lines []string
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := widths[i] - utf8.RuneCountInString(cell) + gap
			b.WriteString(paint(n, i, cell))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", pad))
			}
		}
		lines = append(lines, b.String())
	}
	return lines
}

// dye colours a text for a terminal.
func dye(colour, text string) string {
	if colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// paintIf is dye, if there is to be colour at all.
func paintIf(colour bool, code, text string) string {
	if !colour {
		return text
	}
	return dye(code, text)
}

// excerpt is the beginning of a text that would make a table too wide.
func excerpt(s string) string {
	const most = 100 // characters
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}

// ageOf is for how long something stands that was begun at a time, zero: not known.
func ageOf(since, now time.Time) string {
	if since.IsZero() {
		return "unknown"
	}
	return span(now.Sub(since))
}
