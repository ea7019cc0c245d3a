package render

import (
	"fmt"
	"io"
	"strings"
)

const barWidth = 30

// Bar is a progress bar: one line of a terminal that is drawn again.
type Bar struct {
	to          io.Writer // nil: there is no terminal
	about       string
	full, empty string
}

// NewBar draws to w, which may be nil. Without utf8 it draws in ASCII.
func NewBar(w io.Writer, about string, utf8 bool) *Bar {
	b := &Bar{to: w, about: Line(about), full: "#", empty: "."}
	if utf8 {
		b.full, b.empty = "█", "░"
	}
	return b
}

// Show draws a share, from 0 to 1, and the text beside it.
func (b *Bar) Show(share float64, text string) {
	if b.to == nil {
		return
	}
	about, width := b.about, barWidth
	text = "  " + text
	if all, ok := Columns(b.to); ok && all > 0 { // a line that wraps cannot be drawn again
		room := max(0, all-1-len(text)-len("  "))
		width = min(width, room/2)
		about = fit(about, max(1, room-width))
	}
	full := int(share * float64(width))
	fmt.Fprintf(b.to, "\r\x1b[K%s  %s%s%s", about, strings.Repeat(b.full, full), strings.Repeat(b.empty, width-full), text)
}

// End removes the bar: the result says more.
func (b *Bar) End() {
	if b.to != nil {
		fmt.Fprint(b.to, "\r\x1b[K")
	}
}
