package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"log/syslog"
	"net"
	"os"
	"time"

	"kvexpress/internal/safetext"
)

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
