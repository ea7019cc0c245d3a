package observe_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/observe"
)

// socketPath is short: macOS limits the length.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kvx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "log")
}

func listenSyslog(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// next returns one datagram, and fails the test if none comes.
func next(t *testing.T, conn net.Conn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("no datagram came: %v", err)
	}
	return string(buf[:n])
}

func newLogger(t *testing.T, o observe.LogOptions) *slog.Logger {
	t.Helper()
	log, closeLog := observe.NewLogger(o)
	t.Cleanup(func() {
		if err := closeLog(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return log
}

func TestSyslogGetsPriorityTagAndLine(t *testing.T) {
	tests := []struct {
		level    slog.Level
		priority int // facility user (1) * 8 + severity
	}{
		{slog.LevelDebug, 13},
		{slog.LevelInfo, 13},
		{slog.LevelWarn, 12},
		{slog.LevelError, 11},
	}
	for _, tt := range tests {
		t.Run(tt.level.String(), func(t *testing.T) {
			path := socketPath(t)
			conn := listenSyslog(t, path)
			log := newLogger(t, observe.LogOptions{Direction: "in", Debug: true, Syslog: path})
			log.Log(t.Context(), tt.level, "consul checksum", "update", true, "key", "hosts")
			want := regexp.MustCompile(fmt.Sprintf(
				`^<%d>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d kvexpress\[%d\]: in: consul checksum update='true' key='hosts'\n$`, tt.priority,
				os.Getpid()))
			if got := next(t, conn); !want.MatchString(got) {
				t.Errorf("got %q, want a match of %s", got, want)
			}
		})
	}
}

func TestLinesCannotBeForged(t *testing.T) {
	type point struct{ X, Y int }
	tests := []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"newline in a value", func(l *slog.Logger) { l.Info("m", "k", "a\nin: forged\r\x00") }, `m k='a\nin: forged\r\x00'`},
		{"newline in the message", func(l *slog.Logger) { l.Info("a\nb") }, `a\nb`},
		{"quote", func(l *slog.Logger) { l.Info("m", "k", `it's \n`) }, `m k='it\'s \\n'`},
		{"terminal control", func(l *slog.Logger) { l.Info("m", "k", "\x1b[2J") }, `m k='\x1b[2J'`},
		{"direction override", func(l *slog.Logger) { l.Info("m", "k", "a\u202eb") }, `m k='a\u202eb'`},
		{"broken UTF-8", func(l *slog.Logger) { l.Info("m", "k", "\xff\x80é") }, `m k='\xff\x80é'`},
		{"key", func(l *slog.Logger) { l.Info("m", "k\n", 1) }, `m k\n='1'`},
		{"error", func(l *slog.Logger) { l.Info("m", "error", errors.New("no\nroute")) }, `m error='no\nroute'`},
		{"duration", func(l *slog.Logger) { l.Info("m", "elapsed", 1500*time.Millisecond) }, `m elapsed='1.5s'`},
		{"time", func(l *slog.Logger) { l.Info("m", "at", time.Unix(0, 0)) }, `m at='1970-01-01T00:00:00Z'`},
		{"any", func(l *slog.Logger) { l.Info("m", "p", point{1, 2}) }, `m p='{1 2}'`},
		{"empty", func(l *slog.Logger) { l.Info("m", slog.Attr{}) }, `m`},
		{"with", func(l *slog.Logger) { l.With("a", 1).Info("m", "b", 2) }, `m a='1' b='2'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout bytes.Buffer
			tt.log(newLogger(t, observe.LogOptions{Direction: "in", Verbose: true, Stdout: &stdout, Syslog: observe.SyslogOff}))
			_, got, _ := strings.Cut(stdout.String(), "Z: ")
			if want := "in: " + tt.want + "\n"; got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestLongRecordFitsOneDatagram(t *testing.T) {
	path := socketPath(t)
	conn := listenSyslog(t, path)
	newLogger(t, observe.LogOptions{Direction: "in", Syslog: path}).Info("m", "k", strings.Repeat("é", 100_000))
	got := next(t, conn)
	if len(got) > 2048 || len(got) < 2000 {
		t.Errorf("the datagram has %d bytes, want at most 2048 and not much less", len(got))
	}
	if !strings.HasSuffix(got, "é…\n") {
		t.Errorf("it ends in %q, want a whole character, a mark and a newline", got[len(got)-10:])
	}
}

func TestSyslogIsDialledAtTheFirstRecord(t *testing.T) {
	path := socketPath(t)
	log := newLogger(t, observe.LogOptions{Direction: "in", Syslog: path}) // no server yet
	log.Debug("not wanted, so not dialled")
	conn := listenSyslog(t, path)
	log.Info("first")
	if got := next(t, conn); !strings.Contains(got, "in: first") {
		t.Errorf("got %q", got)
	}
}

func TestSyslogThatRestartsGetsTheNextRecord(t *testing.T) {
	path := socketPath(t)
	conn := listenSyslog(t, path)
	log := newLogger(t, observe.LogOptions{Direction: "in", Syslog: path})
	log.Info("before")
	next(t, conn)
	if err := errors.Join(conn.Close(), os.RemoveAll(path)); err != nil {
		t.Fatal(err)
	}
	conn = listenSyslog(t, path)
	log.Info("after")
	if got := next(t, conn); !strings.Contains(got, "in: after") {
		t.Errorf("got %q", got)
	}
}

func TestSyslogThatDoesNotWorkIsToldOnceToVerbose(t *testing.T) {
	for _, name := range []string{"absent", "hanging"} {
		t.Run(name, func(t *testing.T) {
			path := socketPath(t)
			if name == "hanging" {
				listenSyslog(t, path) // and never reads
			}
			var stdout bytes.Buffer
			log := newLogger(t, observe.LogOptions{Direction: "in", Verbose: true, Stdout: &stdout, Syslog: path})
			const records = 2000 // more than the socket's queue takes: without a deadline this never returns
			for range records {
				log.Info("record")
			}
			if got := strings.Count(stdout.String(), "syslog does not answer"); got != 1 {
				t.Errorf("it was told %d times, want once:\n%.300s", got, stdout.String())
			}
			if got := strings.Count(stdout.String(), "in: record\n"); got != records {
				t.Errorf("%d records were printed, want %d", got, records)
			}
		})
	}
}

func TestConcurrentRecordsArriveWholeAndOnce(t *testing.T) {
	path := socketPath(t)
	conn := listenSyslog(t, path)
	var stdout bytes.Buffer
	log := newLogger(t, observe.LogOptions{Direction: "in", Verbose: true, Stdout: &stdout, Syslog: path})
	const records = 8 // fewer than the smallest queue of a socket
	var all sync.WaitGroup
	for i := range records {
		all.Go(func() { log.Info("record", "i", i) })
	}
	all.Wait()
	log.Info("end")
	seen := map[string]int{}
	for {
		_, line, _ := strings.Cut(next(t, conn), "]: ")
		if line == "in: end\n" {
			break
		}
		seen[line]++
	}
	for i := range records {
		line := fmt.Sprintf("in: record i='%d'\n", i)
		if seen[line] != 1 || strings.Count(stdout.String(), line) != 1 {
			t.Errorf("%q: %d times in syslog, %d on stdout, want once each", line, seen[line], strings.Count(stdout.String(), line))
		}
	}
}

func TestLoggerThatGoesNowhereIsDisabled(t *testing.T) {
	log := newLogger(t, observe.LogOptions{Syslog: observe.SyslogOff, Debug: true})
	if log.Enabled(t.Context(), slog.LevelError) {
		t.Error("the logger formats records that go nowhere")
	}
}
