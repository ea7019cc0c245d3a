package observe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/kv"
)

// statsdLimit limits the DNS look-up and each write, and so the delay that an unreachable address adds to a command.
const statsdLimit = 500 * time.Millisecond

func parseStatsdAddr(addr string) (host, port string, err error) {
	const remedy = `write it as host:port, such as "` + DefaultStatsdAddr + `"`
	host, port, err = net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("the DogStatsD address %s is not valid: %w; %s", kv.Quote(addr), err, remedy)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "",
			fmt.Errorf("the DogStatsD address %s is not valid: its port must be a number from 1 to 65535; %s", kv.Quote(addr), remedy)
	}
	if host == "" {
		host = "localhost"
	}
	return host, port, nil
}

func dialUDP(ctx context.Context, host, port string) (net.Conn, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", kv.Quote(host), err)
	}
	return new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(preferIPv4(ips).String(), port))
}

// preferIPv4 picks an address as 1.x did. A Datadog Agent listens on 127.0.0.1 only, and over UDP a silent ::1 is not noticed.
// ips is not empty: a look-up without a result fails.
func preferIPv4(ips []netip.Addr) netip.Addr {
	return slices.MinFunc(ips, func(a, b netip.Addr) int { return a.Unmap().BitLen() - b.Unmap().BitLen() }).Unmap()
}
