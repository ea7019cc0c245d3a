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

// In counts a publish, and gauges its size in bytes as stored and its lines.
func (m *Metrics) In(key string, size, lines int) {
	m.count("kvexpress.in", key, LocationComplete)
	m.gauge("kvexpress.bytes", key, LocationComplete, int64(size))
	m.gauge("kvexpress.lines", key, LocationComplete, int64(lines))
}

// Out counts a file that was written.
func (m *Metrics) Out(key string) { m.count("kvexpress.out", key, LocationComplete) }

// Raw counts a file that was written from a plain Consul key.
func (m *Metrics) Raw(key string) { m.count("kvexpress.raw", key, LocationComplete) }

// Locked counts a delivery that a lock held back. Its key tag is the file.
func (m *Metrics) Locked(file string) { m.count("kvexpress.locked", file, LocationComplete) }

// NotLongEnough counts a delivery that was refused for too few lines.
func (m *Metrics) NotLongEnough(key string) {
	m.count("kvexpress.not_long_enough", key, LocationNotLongEnough)
}

// ChecksumMismatch counts a delivery whose data did not match its checksum.
func (m *Metrics) ChecksumMismatch(key string) {
	m.count("kvexpress.checksum_mismatch", key, LocationChecksumMismatch)
}

// Lock counts a file that was locked. Its key tag is the lock's path in the
// store.
func (m *Metrics) Lock(path string) { m.count("kvexpress.lock", path, LocationComplete) }

// Unlock is the counterpart of Lock.
func (m *Metrics) Unlock(path string) { m.count("kvexpress.unlock", path, LocationComplete) }

// ConsulError counts a failed write (LocationSet) or deletion (LocationDelete).
// Its key tag is the path in the store.
func (m *Metrics) ConsulError(path, location string) {
	m.count("kvexpress.consul_error", path, location)
}

// Panic counts a command that failed for a reason outside the data.
func (m *Metrics) Panic(key, location string) { m.count("kvexpress.panic", key, location) }

// Time gauges how long the command took, in milliseconds, and where it ended.
func (m *Metrics) Time(key, location string, ms int64) {
	m.gauge("kvexpress.time", key, location, ms)
}

// ConsulReconnect counts a request to the store that is tried again. It has no
// key and no location.
func (m *Metrics) ConsulReconnect() {
	if m.enabled() {
		m.send("kvexpress.consul_reconnect", "1|c", tag("host", m.origin.host), tag("direction", m.origin.direction))
	}
}

func (m *Metrics) count(name, key, location string) {
	if m.enabled() {
		m.send(name, "1|c", m.origin.tags(key, location)...)
	}
}

func (m *Metrics) gauge(name, key, location string, value int64) {
	if m.enabled() {
		m.send(name, strconv.FormatInt(value, 10)+"|g", m.origin.tags(key, location)...)
	}
}

// send is one datagram for one metric. A metric that cannot be sent is lost: that
// is what link is for.
func (m *Metrics) send(name, value string, tags ...string) {
	_, _ = m.out.Write([]byte(name + ":" + value + "|#" + strings.Join(tags, ",")))
}
