package render

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Colours of a terminal, for Paint.
const (
	Bold   = "1"
	Red    = "31"
	Green  = "32"
	Yellow = "33"
	Cyan   = "36"
)

// Paint colours a text if colour is set.
func Paint(colour bool, code, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(w any) bool {
	_, ok := Columns(w)
	return ok
}

// Columns is the width of a terminal, or 0 if the terminal does not know it. ok is false for anything else.
func Columns(w any) (n int, ok bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}

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
