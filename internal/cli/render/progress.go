package render

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// slow is how long a step may take before it is named.
const slow = time.Second

// Steps names the steps of a command at a terminal, one line each, if they take longer than a second.
type Steps struct {
	to    io.Writer
	about string
	timer *time.Timer
}

// NewSteps prints to w if w is a terminal, else nothing.
func NewSteps(w io.Writer, about string) *Steps {
	p := &Steps{about: about}
	if IsTerminal(w) {
		p.to = w
	}
	return p
}

// Shown reports whether there is a terminal.
func (p *Steps) Shown() bool { return p.to != nil }

// Step begins a step and ends the last one. "" only ends it.
func (p *Steps) Step(name string) {
	if p.to == nil {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	if name != "" {
		p.timer = time.AfterFunc(slow, func() { fmt.Fprintf(p.to, "kvexpress: %s: %s …\n", p.about, name) })
	}
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
