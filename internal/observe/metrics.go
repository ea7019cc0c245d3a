package observe

import (
	"context"
	"net"
	"strconv"
	"strings"
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
	if o.Addr == "" {
		o.Addr = DefaultStatsdAddr
	}
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
