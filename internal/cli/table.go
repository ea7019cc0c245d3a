package cli

import (
	"strings"
	"unicode/utf8"
)

// align makes the cells of each column begin at the same place, two blanks apart.
// Each is made printable; paint may then colour it, row 0 being the heading.
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
