package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/safetext"
)

// SyslogOff, as LogOptions.Syslog, turns syslog off.
const SyslogOff = "off"

// LogOptions says where log records go.
type LogOptions struct {
	// Direction is the name of the command, such as "in". It opens each line.
	Direction string
	// Debug sends debug records to syslog too.
	Debug bool
	// Verbose prints every record to Stdout too, debug records included.
	Verbose bool
	Stdout  io.Writer
	// Syslog is the path of a unixgram socket, SyslogOff, or "" for the
	// system's.
	Syslog string
}

// NewLogger returns a logger, and the function that closes what it opened.
//
// A record becomes one line, "direction: message key='value' …", sent once to
// syslog with the tag kvexpress and facility user. Nothing in a record can end
// the line or close a quote early. Syslog is dialled at the first record; one
// that is absent or hangs is tolerated, and its records are dropped.
func NewLogger(o LogOptions) (*slog.Logger, func() error) {
	out := &output{direction: o.Direction, debug: o.Debug}
	if o.Verbose {
		out.stdout = o.Stdout
	}
	closer := func() error { return nil }
	if o.Syslog != SyslogOff {
		out.syslog = newSyslog(o.Syslog)
		closer = out.syslog.Close
	}
	return slog.New(&handler{out: out}), closer
}

// output is what all handlers of one logger share.
type output struct {
	direction string
	debug     bool
	syslog    *link // nil: off

	mu     sync.Mutex // keeps lines on stdout whole
	stdout io.Writer  // nil: not verbose
	told   bool       // that syslog does not work
}

func (o *output) toSyslog(level slog.Level) bool {
	return o.syslog != nil && (o.debug || level >= slog.LevelInfo)
}

func (o *output) write(level slog.Level, at time.Time, line string) error {
	line = o.direction + ": " + line
	err := o.print(at, line)
	if !o.toSyslog(level) {
		return err
	}
	if _, failed := o.syslog.Write(syslogMessage(level, at, line)); failed != nil && o.tellOnce() {
		return o.print(at, o.direction+": syslog does not answer, its records are dropped"+pair("error", failed.Error()))
	}
	return err
}

func (o *output) print(at time.Time, line string) error {
	if o.stdout == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := fmt.Fprintf(o.stdout, "%s: %s\n", at.UTC().Format(time.RFC3339), line); err != nil {
		return fmt.Errorf("print a log line: %w", err)
	}
	return nil
}

func (o *output) tellOnce() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := !o.told
	o.told = true
	return first
}

// handler is the slog.Handler that writes 1.x's lines.
type handler struct {
	out   *output
	attrs string // of WithAttrs, already formatted
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return h.out.stdout != nil || h.out.toSyslog(level)
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(safetext.Line(r.Message, maxValue))
	line.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&line, a)
		return true
	})
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	//nolint:contextcheck // a record is sent even if what it tells of was cut off
	return h.out.write(r.Level, at, line.String())
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var more strings.Builder
	for _, a := range attrs {
		appendAttr(&more, a)
	}
	return &handler{out: h.out, attrs: h.attrs + more.String()}
}

// WithGroup does nothing: nobody here makes groups.
func (h *handler) WithGroup(string) slog.Handler { return h }

func appendAttr(line *strings.Builder, a slog.Attr) {
	switch v := a.Value.Resolve(); {
	case v.Kind() == slog.KindTime:
		line.WriteString(pair(a.Key, v.Time().UTC().Format(time.RFC3339)))
	case !a.Equal(slog.Attr{}):
		line.WriteString(pair(a.Key, v.String()))
	}
}
