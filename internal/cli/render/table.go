package render

import (
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// terminalWidth is in columns. 0: tables are as wide as their cells.
var terminalWidth atomic.Int32 //nolint:gochecknoglobals // a process has one terminal

// FitTables limits tables to the width of the terminal w. Other writers change nothing.
func FitTables(w any) {
	if width, ok := Columns(w); ok {
		terminalWidth.Store(int32(width))
	}
}

// minColumn is the width below which a column is not cut.
const minColumn = 4

// shrink makes the widest columns narrower until the row fits the terminal.
func shrink(widths []int) {
	limit := int(terminalWidth.Load())
	for gaps := 2*len(widths) - 2; limit > 0; {
		widest, total := 0, gaps
		for i, w := range widths {
			total += w
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= limit || widths[widest] <= minColumn {
			return
		}
		widths[widest]--
	}
}

// fit cuts a cell that is wider than its column: of a path the end stays, of other text the beginning.
func fit(cell string, width int) string {
	runes := []rune(cell)
	switch {
	case len(runes) <= width:
		return cell
	case strings.HasPrefix(cell, "/"):
		return "…" + string(runes[len(runes)-width+1:])
	}
	return string(runes[:width-1]) + "…"
}

// Table aligns rows in columns. The first row is the head. Cells are made printable.
func Table(rows [][]string) []string { return TableWith(rows, nil, nil) }

// TableWith is Table with a colour for cells ("": none) and with lines below rows. Both callbacks
// number the rows without the head.
func TableWith(rows [][]string, colour func(row, column int) string, below func(row int) []string) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = Line(row[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	shrink(widths)
	var lines []string
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			cell = fit(cell, widths[i])
			code := ""
			if n > 0 && colour != nil {
				code = colour(n-1, i)
			}
			b.WriteString(Paint(code != "", code, cell))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		lines = append(lines, b.String())
		if n > 0 && below != nil {
			for _, line := range below(n - 1) {
				if line != "" {
					lines = append(lines, "    "+Line(line))
				}
			}
		}
	}
	return lines
}
