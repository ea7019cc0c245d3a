package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// DefaultStatsdAddr is the address of a local Datadog Agent.
const DefaultStatsdAddr = "localhost:8125"

// MetricsOptions configure Metrics.
type MetricsOptions struct {
	Enabled   bool
	Addr      string // host:port of DogStatsD; "" is DefaultStatsdAddr
	Host      string // the operating system's host name
	Direction string // the command's name
}

// Metrics sends 1.x's metrics to DogStatsD. A metric may be lost, and never fails. A nil or zero Metrics is disabled. It is safe
// for concurrent use.
type Metrics struct {
	out    *conn // nil: disabled
	origin origin
}

// NewMetrics checks the address without resolving it. Close must be called.
func NewMetrics(o MetricsOptions) (*Metrics, error) {
	if !o.Enabled {
		return &Metrics{}, nil
	}
	o.Addr = cmp.Or(o.Addr, DefaultStatsdAddr)
	if err := checkStatsdAddr(o.Addr); err != nil {
		return nil, err
	}
	out := &conn{limit: statsdLimit, dial: func(ctx context.Context) (net.Conn, error) { return dialUDP(ctx, o.Addr) }}
	return &Metrics{out: out, origin: origin{host: o.Host, direction: o.Direction}}, nil
}

func (m *Metrics) enabled() bool { return m != nil && m.out != nil }

// Close closes the connection. All metrics have been sent before.
func (m *Metrics) Close() error {
	if !m.enabled() {
		return nil
	}
	return m.out.Close()
}

// Count increments one of 1.x's counters, such as "out". As in 1.x, key may be the path of a file or of a row.
func (m *Metrics) Count(name, key, location string) {
	if m.enabled() {
		m.send(name, "1|c", m.origin.tags(key, location)...)
	}
}

// Gauge sends one of 1.x's gauges: "bytes" as stored, "lines", or "time" in milliseconds.
func (m *Metrics) Gauge(name, key, location string, value int64) {
	if m.enabled() {
		m.send(name, strconv.FormatInt(value, 10)+"|g", m.origin.tags(key, location)...)
	}
}

// ConsulReconnect counts a retried request to the store. It has no key and no location.
func (m *Metrics) ConsulReconnect() {
	if m.enabled() {
		m.send("consul_reconnect", "1|c", tag("host", m.origin.host), tag("direction", m.origin.direction))
	}
}

// send sends one metric in one datagram.
func (m *Metrics) send(name, value string, tags ...string) {
	_, _ = m.out.Write([]byte("kvexpress." + name + ":" + value + "|#" + strings.Join(tags, ",")))
}

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

// maxTag is Datadog's limit on a tag, in bytes. It also keeps a metric in one datagram.
const maxTag = 200

// origin is the source of the metrics and events of a command.
type origin struct {
	host      string // the operating system's host name
	direction string // the command's name
}

// tags returns 1.x's four tags, in its order.
func (o origin) tags(key, location string) []string {
	return []string{tag("key", key), tag("host", o.host), tag("direction", o.direction), tag("location", location)}
}

// tag formats one tag. Separators of DogStatsD's format and control characters become underscores.
func tag(name, value string) string {
	value = strings.Map(func(r rune) rune {
		if r == ',' || r == '|' || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, value)
	return safetext.Cut(name+":"+value, maxTag)
}
