package chart

import (
	"bufio"
	"encoding/xml"
	"io"
	"strconv"
)

// page writes elements. After a failed write it writes nothing more: end returns
// the error.
type page struct{ w *bufio.Writer }

func newPage(w io.Writer) *page { return &page{w: bufio.NewWriterSize(w, 64<<10)} }

// raw writes markup.
func (p *page) raw(s string) {
	_, _ = p.w.WriteString(s) // the buffer keeps the error for Flush
}

// escaped writes a text of at most so many characters, with all that is markup, or
// may not be in XML, made harmless.
func (p *page) escaped(s string, most int) {
	_ = xml.EscapeText(p.w, []byte(cut(s, most))) // as above
}

// text writes a line of text.
func (p *page) text(x, y float64, attributes, s string) {
	if s == "" {
		return
	}
	p.raw(`<text x="` + number(x) + `" y="` + number(y) + `" ` + attributes + `>`)
	p.escaped(s, len(s))
	p.raw("</text>\n")
}

// line writes a straight line.
func (p *page) line(x1, y1, x2, y2 float64, class string) {
	p.raw(`<line x1="` + number(x1) + `" y1="` + number(y1) + `" x2="` + number(x2) + `" y2="` + number(y2) + `" class="` + class + "\"/>\n")
}

func (p *page) end() error { return p.w.Flush() }

// number is a coordinate, to a tenth.
func number(f float64) string {
	s := strconv.FormatFloat(f, 'f', 1, 64)
	if n := len(s) - 2; s[n:] == ".0" {
		s = s[:n]
	}
	return s
}

// cut cuts a text that is longer than so many characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

// textWidth is how wide a text is, or a little less than that: no font is known.
func textWidth(s string, size float64) float64 { return float64(len([]rune(s))) * size * 0.56 }
