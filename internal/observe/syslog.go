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
	// syslogLimit is the longest that a record may hold a command up.
	syslogLimit = 100 * time.Millisecond
	// maxDatagram is the size in bytes of the largest local datagram that
	// macOS and FreeBSD accept; a longer record would be lost as a whole.
	maxDatagram = 2048
)

// newSyslog returns a link to the socket at path, or to the system's for "".
//
// It is not log/syslog's Writer because that has no deadline: a syslog daemon
// that hangs would hang every command.
func newSyslog(path string) *link {
	dial := dialSystemSyslog
	if path != "" {
		dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unixgram", path)
		}
	}
	return &link{dial: dial, limit: syslogLimit}
}

// dialSystemSyslog looks where log/syslog, and so 1.x, looked.
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

// syslogMessage frames a line in the form that local syslog sockets take.
func syslogMessage(level slog.Level, at time.Time, line string) []byte {
	head := fmt.Sprintf("<%d>%s %s[%d]: ", syslog.LOG_USER|severity(level), at.Format(time.Stamp), syslogTag, os.Getpid())
	return []byte(head + safetext.Cut(line, maxDatagram-len(head)-1) + "\n")
}

// severity maps debug records to notice, as 1.x did: many daemons drop what is
// below it, and whoever asks for debug lines wants to see them.
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
