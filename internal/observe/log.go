package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/safetext"
)

// SyslogOff disables syslog in LogOptions.Syslog.
const SyslogOff = "off"

// LogOptions configure a logger.
type LogOptions struct {
	// Direction is the name of the command, such as "in". Each line begins with it.
	Direction string
	// Debug also sends debug records to syslog.
	Debug bool
	// Verbose also prints all records to Stdout, debug records included.
	Verbose bool
	Stdout  io.Writer
	// Syslog is the path of a unixgram socket, SyslogOff, or "" for the system's.
	Syslog string
}

// NewLogger returns a logger, and the function that closes its connection.
//
// A record becomes one line, "direction: message key='value' …", in syslog with the tag kvexpress and facility user. Text in a
// record cannot end the line or close a quote. NewLogger connects at the first record. If syslog is missing or hangs, records are
// dropped.
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

// output is shared by all handlers of a logger.
type output struct {
	direction string
	debug     bool
	syslog    *conn // nil: off

	mu     sync.Mutex // keeps lines on stdout whole
	stdout io.Writer  // nil: not verbose
	tell   sync.Once  // a syslog failure is reported
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
	if _, failed := o.syslog.Write(syslogMessage(level, at, line)); failed != nil {
		o.tell.Do(func() {
			err = o.print(at, o.direction+": syslog does not answer; records are dropped"+pair("error", failed.Error()))
		})
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
	//nolint:contextcheck // a record is sent even if its command was interrupted
	return h.out.write(r.Level, at, line.String())
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var more strings.Builder
	for _, a := range attrs {
		appendAttr(&more, a)
	}
	return &handler{out: h.out, attrs: h.attrs + more.String()}
}

// WithGroup does nothing: this program uses no groups.
func (h *handler) WithGroup(string) slog.Handler { return h }

func appendAttr(line *strings.Builder, a slog.Attr) {
	switch v := a.Value.Resolve(); {
	case v.Kind() == slog.KindTime:
		line.WriteString(pair(a.Key, v.Time().UTC().Format(time.RFC3339)))
	case !a.Equal(slog.Attr{}):
		line.WriteString(pair(a.Key, v.String()))
	}
}

// maxValue limits a value or message in logs, in bytes.
const maxValue = 4096

// pair formats an attribute of a log line, after a space.
func pair(key, value string) string {
	value = strings.ReplaceAll(safetext.Cut(value, maxValue), `\`, `\\`)
	return " " + safetext.Line(key, maxValue) + "='" + strings.ReplaceAll(safetext.Line(value, maxValue), "'", `\'`) + "'"
}

const (
	syslogTag = "kvexpress"
	// syslogLimit limits the delay of a command by one record.
	syslogLimit = 100 * time.Millisecond
	// maxDatagram is the largest local datagram of macOS and FreeBSD, in bytes; a longer record would be lost.
	maxDatagram = 2048
)

// newSyslog returns a conn to the socket at path, or to the system's for "". log/syslog's Writer has no deadline: a hanging
// syslog daemon would hang every command.
func newSyslog(path string) *conn {
	dial := dialSystemSyslog
	if path != "" {
		dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unixgram", path)
		}
	}
	return &conn{dial: dial, limit: syslogLimit}
}

// dialSystemSyslog tries the sockets of log/syslog, as 1.x did.
func dialSystemSyslog(ctx context.Context) (net.Conn, error) {
	var tried []error
	for _, network := range []string{"unixgram", "unix"} {
		for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
			conn, err := new(net.Dialer).DialContext(ctx, network, path)
			if err == nil {
				return conn, nil
			}
			tried = append(tried, err)
		}
	}
	return nil, errors.Join(tried...)
}

// syslogMessage formats a line for a local syslog socket.
func syslogMessage(level slog.Level, at time.Time, line string) []byte {
	head := fmt.Sprintf("<%d>%s %s[%d]: ", syslog.LOG_USER|severity(level), at.Format(time.Stamp), syslogTag, os.Getpid())
	return []byte(head + safetext.Cut(line, maxDatagram-len(head)-1) + "\n")
}

// severity maps debug records to notice, as 1.x did: many daemons drop lower severities.
func severity(level slog.Level) syslog.Priority {
	switch {
	case level >= slog.LevelError:
		return syslog.LOG_ERR
	case level >= slog.LevelWarn:
		return syslog.LOG_WARNING
	default:
		return syslog.LOG_NOTICE
	}
}
