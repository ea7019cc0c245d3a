package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"kvexpress/internal/kv"
)

// statsdLimit limits the DNS look-up and each write, and so the delay that an unreachable address adds to a command.
const statsdLimit = 500 * time.Millisecond

// checkStatsdAddr does not resolve the name.
func checkStatsdAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		if n, bad := strconv.ParseUint(port, 10, 16); bad != nil || n == 0 {
			err = errors.New("its port must be a number from 1 to 65535")
		}
	}
	if err != nil {
		return fmt.Errorf(`the DogStatsD address %s is not valid: %w; write it as host:port, such as "%s"`, kv.Quote(addr), err,
			DefaultStatsdAddr)
	}
	return nil
}

// dialUDP prefers IPv4, as 1.x did. A Datadog Agent listens on 127.0.0.1 only, and over UDP a silent ::1 is not noticed.
func dialUDP(ctx context.Context, addr string) (net.Conn, error) {
	var dialer net.Dialer
	if conn, err := dialer.DialContext(ctx, "udp4", addr); err == nil {
		return conn, nil
	}
	return dialer.DialContext(ctx, "udp", addr)
}
