package cli

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Colours of a terminal.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// tableWidth is the width of the terminal that tables are for, in columns; 0: there is none, or it does not say.
var tableWidth atomic.Int32 //nolint:gochecknoglobals // a process has one terminal

// narrowest is the width of a column below which it is not cut.
const narrowest = 4

// shrink makes the widest columns narrower until the row fits the terminal.
func shrink(widths []int) {
	most := int(tableWidth.Load())
	for total := 2*len(widths) - 2; most > 0; {
		widest, all := 0, total
		for i, w := range widths {
			all += w
			if w > widths[widest] {
				widest = i
			}
		}
		if all <= most || widths[widest] <= narrowest {
			return
		}
		widths[widest]--
	}
}

// fit cuts a cell that is wider than its column: of a path the end stays, of all else the beginning.
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

// table lines up rows, of which the first is the head.
func table(rows [][]string) []string { return tableWith(rows, nil, nil) }

// tableWith is table for a caller who colours cells, "" being none, or has something to
// say below a row. Both count the rows without the head. Cells are made printable.
func tableWith(rows [][]string, colour func(row, column int) string, below func(row int) []string) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
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
			b.WriteString(paint(code != "", code, cell))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		lines = append(lines, b.String())
		if n > 0 && below != nil {
			for _, line := range below(n - 1) {
				if line != "" {
					lines = append(lines, "    "+printable(line))
				}
			}
		}
	}
	return lines
}

// paint colours a text for a terminal, if there is to be colour at all.
func paint(colour bool, code, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// ageOf is for how long something stands that was begun at a time, zero: not known.
func ageOf(since, now time.Time) string {
	if since.IsZero() {
		return "unknown"
	}
	return span(now.Sub(since))
}

// span is a duration in its two largest units, such as 3m12s or 2d.
func span(d time.Duration) string {
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
	return "0s" // or less, by a clock that was set
}

// number is that of a version; what there is in its place where it has none.
func number(v uint64, otherwise string) string {
	if v == 0 {
		return otherwise
	}
	return strconv.FormatUint(v, 10)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
