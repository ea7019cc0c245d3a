package observe

import (
	"context"
	"net"
	"strconv"
	"strings"
)

// DefaultStatsdAddr is where a Datadog Agent listens.
const DefaultStatsdAddr = "localhost:8125"

// MetricsOptions says whether and where metrics are sent.
type MetricsOptions struct {
	Enabled   bool
	Addr      string // host:port of DogStatsD; "" is DefaultStatsdAddr
	Host      string // the operating system's host name
	Direction string // the command's name
}

// Metrics sends 1.x's metrics to DogStatsD. They may be lost and never fail.
// A nil or zero Metrics sends nothing. It is safe for concurrent use.
type Metrics struct {
	out    *link // nil: disabled
	origin origin
}

// NewMetrics checks the address, without any look-up. Close must be called.
func NewMetrics(o MetricsOptions) (*Metrics, error) {
	if !o.Enabled {
		return &Metrics{}, nil
	}
	if o.Addr == "" {
		o.Addr = DefaultStatsdAddr
	}
	host, port, err := parseStatsdAddr(o.Addr)
	if err != nil {
		return nil, err
	}
	out := &link{limit: statsdLimit, dial: func(ctx context.Context) (net.Conn, error) { return dialUDP(ctx, host, port) }}
	return &Metrics{out: out, origin: origin{host: o.Host, direction: o.Direction}}, nil
}

func (m *Metrics) enabled() bool { return m != nil && m.out != nil }

// Close ends the connection. Every metric has been sent by then.
func (m *Metrics) Close() error {
	if !m.enabled() {
		return nil
	}
	return m.out.Close()
}

// Count counts one of 1.x's metrics, such as "out". A key may be the path of a file, or of
// a row in the store: 1.x had it so.
func (m *Metrics) Count(name, key, location string) {
	if m.enabled() {
		m.send(name, "1|c", m.origin.tags(key, location)...)
	}
}

// Gauge sends a number of 1.x's: "bytes" as stored, "lines", or "time" in milliseconds.
func (m *Metrics) Gauge(name, key, location string, value int64) {
	if m.enabled() {
		m.send(name, strconv.FormatInt(value, 10)+"|g", m.origin.tags(key, location)...)
	}
}

// ConsulReconnect counts a request to the store that is tried again. It has no
// key and no location.
func (m *Metrics) ConsulReconnect() {
	if m.enabled() {
		m.send("consul_reconnect", "1|c", tag("host", m.origin.host), tag("direction", m.origin.direction))
	}
}

// send is one datagram for one metric. A metric that cannot be sent is lost: that
// is what link is for.
func (m *Metrics) send(name, value string, tags ...string) {
	_, _ = m.out.Write([]byte("kvexpress." + name + ":" + value + "|#" + strings.Join(tags, ",")))
}
