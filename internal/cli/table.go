package cli

import (
	"strings"
	"unicode/utf8"
)

// table lines columns up. What is in its cells is made printable, but for that of the
// last column, which may be painted.
type table struct {
	rows   [][]string
	widths []int
}

func newTable(heads ...string) *table {
	t := &table{widths: make([]int, len(heads))}
	t.add(heads...)
	return t
}

func (t *table) add(cells ...string) {
	for i := range cells {
		if i < len(cells)-1 || !strings.HasPrefix(cells[i], "\x1b[") {
			cells[i] = printable(cells[i])
		}
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cells[i]))
	}
	t.rows = append(t.rows, cells)
}

func (t *table) lines() []string {
	const gap = 2
	lines := make([]string, len(t.rows))
	for n, row := range t.rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+gap))
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

func paintIf(colour bool, code, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
