package observe

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"kvexpress/internal/safetext"
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

// Label is a label of a sample. The name must be valid, the value may be anything.
type Label struct{ Name, Value string }

// PromWriter writes metric families, one after the other. After a failed write it writes nothing more, and End returns the error.
// It is not safe for concurrent use.
type PromWriter struct {
	w    *bufio.Writer // keeps the first error
	name string
	head string // of the family, until its first sample is written
}

// NewProm returns a PromWriter to w. End must be called.
func NewProm(w io.Writer) *PromWriter { return &PromWriter{w: bufio.NewWriter(w)} }

// Family begins a family: the next samples belong to it. The name must be valid and new. A family without samples is not written.
func (w *PromWriter) Family(name string, kind PromKind, help string) {
	w.name, w.head = name, fmt.Sprintf("# HELP %[1]s %[3]s\n# TYPE %[1]s %[2]s\n", name, kind, escapeHelp.Replace(help))
}

// Sample writes one sample of a counter or gauge. Samples of a family must have different labels.
func (w *PromWriter) Sample(value float64, labels ...Label) {
	w.sample("", value, labels, "")
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
	var total uint64
	for i := range len(bounds) + 1 {
		if i < len(counts) {
			total += counts[i]
		}
		le := "+Inf"
		if i < len(bounds) {
			le = number(bounds[i])
		}
		w.sample("_bucket", float64(total), labels, le)
	}
	w.sample("_sum", sum, labels, "")
	w.sample("_count", float64(total), labels, "")
}

// End flushes the buffer, and returns the first error.
func (w *PromWriter) End() error { return w.w.Flush() }

// sample writes one line, after the head of its family. le is the upper bound of a bucket; "" for all others.
func (w *PromWriter) sample(suffix string, value float64, labels []Label, le string) {
	put := func(parts ...string) {
		for _, part := range parts {
			_, _ = w.w.WriteString(part) // End tells
		}
	}
	put(w.head, w.name, suffix)
	w.head = ""
	next := "{"
	for _, l := range labels {
		put(next, l.Name, `="`, escapeLabel.Replace(validUTF8(l.Value)), `"`)
		next = ","
	}
	if le != "" {
		put(next, `le="`, le, `"`)
		next = ","
	}
	if next == "," {
		put("}")
	}
	put(" ", number(value), "\n")
}

// number formats numbers without an exponent, unless they are very large or small.
func number(v float64) string {
	if abs := math.Abs(v); v == 0 || abs >= 1e-6 && abs < 1<<53 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)            //nolint:gochecknoglobals // constant
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`) //nolint:gochecknoglobals // constant
)

// validUTF8 escapes bytes that the format cannot have, as in a file name, as \xff.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return safetext.Line(s, 0)
}
