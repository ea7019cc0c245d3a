package observe

import (
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// ContentType is the Content-Type of the text format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// PromKind is the type of a metric family.
type PromKind string

// The kinds. PromWriter.Histogram writes the samples of a histogram, PromWriter.Sample all others.
const (
	Counter   PromKind = "counter"
	Gauge     PromKind = "gauge"
	Histogram PromKind = "histogram"
)

// flushAt is the size of the buffer, in bytes.
const flushAt = 4 << 10

// Label is a label of a sample. The name must be valid, the value may be anything.
type Label struct{ Name, Value string }

// PromWriter writes metric families, one after the other. After a failed write it writes nothing more, and End returns the error.
// It is not safe for concurrent use.
type PromWriter struct {
	w   io.Writer
	buf []byte
	err error

	name, help string
	kind       PromKind
	begun      bool // the family's head is written
}

// NewProm returns a PromWriter to w. End must be called.
func NewProm(w io.Writer) *PromWriter { return &PromWriter{w: w} }

// Family begins a family: the next samples belong to it. The name must be valid and new. A family without samples is not written.
func (w *PromWriter) Family(name string, kind PromKind, help string) {
	w.name, w.kind, w.help, w.begun = name, kind, help, false
}

// Sample writes one sample of a counter or gauge. Samples of a family must have different labels.
func (w *PromWriter) Sample(value float64, labels ...Label) {
	w.head()
	w.sample("", value, labels, nil)
}

// One writes a family with one sample without labels.
func (w *PromWriter) One(name string, kind PromKind, help string, value float64) {
	w.Family(name, kind, help)
	w.Sample(value)
}

// With returns a Label.
func With(name, value string) Label { return Label{name, value} }

// Truth returns 1 for true, 0 for false.
func Truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Seconds returns a time in Unix seconds; 0 for the zero time.
func Seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// Histogram writes a histogram. bounds are the upper bounds of its buckets, ascending and finite. counts has the observations of
// each bucket, and then those above the last bound; missing counts are 0.
func (w *PromWriter) Histogram(bounds []float64, counts []uint64, sum float64, labels ...Label) {
	w.head()
	var total uint64
	for i := range len(bounds) + 1 {
		if i < len(counts) {
			total += counts[i]
		}
		le := math.Inf(1)
		if i < len(bounds) {
			le = bounds[i]
		}
		w.sample("_bucket", float64(total), labels, &le)
	}
	w.sample("_sum", sum, labels, nil)
	w.sample("_count", float64(total), labels, nil)
}

// End flushes the buffer, and returns the first error.
func (w *PromWriter) End() error {
	w.flush(0)
	return w.err
}

func (w *PromWriter) head() {
	if w.begun {
		return
	}
	w.begun = true
	w.buf = append(append(w.buf, "# HELP "...), w.name...)
	w.buf = append(w.buf, ' ')
	w.buf = appendEscaped(w.buf, w.help, false)
	w.buf = append(append(w.buf, "\n# TYPE "...), w.name...)
	w.buf = append(append(w.buf, ' '), w.kind...)
	w.buf = append(w.buf, '\n')
}

// sample writes one line. le is the upper bound of a bucket; nil for all others.
func (w *PromWriter) sample(suffix string, value float64, labels []Label, le *float64) {
	w.buf = append(append(w.buf, w.name...), suffix...)
	next := byte('{')
	for _, l := range labels {
		w.buf = append(append(w.buf, next), l.Name...)
		w.buf = append(w.buf, '=', '"')
		w.buf = append(appendEscaped(w.buf, l.Value, true), '"')
		next = ','
	}
	if le != nil {
		w.buf = append(append(w.buf, next), `le="`...)
		w.buf = append(appendNumber(w.buf, *le), '"')
		next = ','
	}
	if next == ',' {
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, ' ')
	w.buf = append(appendNumber(w.buf, value), '\n')
	w.flush(flushAt)
}

// flush writes the buffer if it has more than so many bytes.
func (w *PromWriter) flush(more int) {
	if len(w.buf) <= more {
		return
	}
	if w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
	w.buf = w.buf[:0]
}

// appendNumber writes numbers without an exponent, unless they are very large or small.
func appendNumber(b []byte, v float64) []byte {
	if abs := math.Abs(v); v == 0 || abs >= 1e-6 && abs < 1<<53 {
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// appendEscaped escapes text for the format, quotes only in a label's value. The format is UTF-8; other bytes, as in a file name,
// become \xff.
func appendEscaped(b []byte, s string, quotes bool) []byte {
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\':
			b = append(b, '\\', '\\')
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '"' && quotes:
			b = append(b, '\\', '"')
		case r == utf8.RuneError && size == 1:
			b = append(b, '\\', '\\', 'x')
			b = strconv.AppendUint(b, uint64(s[0]), 16) // always two digits: such bytes are above 0x7f
		default:
			b = append(b, s[:size]...)
		}
		s = s[size:]
	}
	return b
}
