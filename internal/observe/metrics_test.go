package observe_test

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kvexpress/internal/observe"
)

func listenStatsd(t *testing.T) (conn net.Conn, addr string) {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	// By name, as the default is: it must find the listener on IPv4.
	return udp, "localhost:" + strconv.Itoa(udp.LocalAddr().(*net.UDPAddr).Port)
}

// sent returns the lines that one use of Metrics puts on the wire.
func sent(t *testing.T, use func(*observe.Metrics)) []string {
	t.Helper()
	conn, addr := listenStatsd(t)
	m, err := observe.NewMetrics(observe.MetricsOptions{Enabled: true, Addr: addr, Host: "web1", Direction: "in"})
	if err != nil {
		t.Fatal(err)
	}
	use(m)
	m.Count("raw", "end", observe.LocationComplete) // the client may spread the lines over several datagrams
	if err := m.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	var lines []string
	for {
		lines = append(lines, strings.Split(next(t, conn), "\n")...)
		if last := len(lines) - 1; strings.Contains(lines[last], "key:end,") {
			return lines[:last]
		}
	}
}

func TestEveryMetricOnTheWire(t *testing.T) {
	// Variables from which Datadog's client would add tags.
	t.Setenv("DD_ENV", "prod")
	t.Setenv("DD_SERVICE", "consul")
	t.Setenv("DD_VERSION", "1")
	t.Setenv("DD_ENTITY_ID", "pod")
	t.Setenv("DD_EXTERNAL_ENV", "x")
	t.Setenv("DD_CARDINALITY", "high")
	t.Setenv("DD_ORIGIN_DETECTION_ENABLED", "true")
	t.Setenv("DD_AGENT_HOST", "192.0.2.1")
	tests := []struct {
		name string
		use  func(*observe.Metrics)
		want []string
	}{
		{"a count", func(m *observe.Metrics) { m.Count("out", "team/app", observe.LocationComplete) },
			[]string{"kvexpress.out:1|c|#key:team/app,host:web1,direction:in,location:complete"}},
		{"a gauge", func(m *observe.Metrics) { m.Gauge("bytes", "hosts", observe.LocationStopped, 1234) },
			[]string{"kvexpress.bytes:1234|g|#key:hosts,host:web1,direction:in,location:stop_key"}},
		{"consul_reconnect", func(m *observe.Metrics) { m.ConsulReconnect() },
			[]string{"kvexpress.consul_reconnect:1|c|#host:web1,direction:in"}},
		{"nothing is aggregated away",
			func(m *observe.Metrics) { m.Gauge("time", "k", "complete", 1); m.Gauge("time", "k", "complete", 2) }, []string{
				"kvexpress.time:1|g|#key:k,host:web1,direction:in,location:complete",
				"kvexpress.time:2|g|#key:k,host:web1,direction:in,location:complete",
			}},
		{"hostile key", func(m *observe.Metrics) { m.Count("out", "a,b|c\nd\x1f,e:f", observe.LocationComplete) },
			[]string{"kvexpress.out:1|c|#key:a_b_c_d__e:f,host:web1,direction:in,location:complete"}},
		{"long key", func(m *observe.Metrics) { m.Count("out", strings.Repeat("k", 9000), observe.LocationComplete) }, []string{
			"kvexpress.out:1|c|#key:" + strings.Repeat("k", 200-len("key:…")) + "…,host:web1,direction:in,location:complete",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sent(t, tt.use); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestDisabledMetricsCostNothing(t *testing.T) {
	off, err := observe.NewMetrics(observe.MetricsOptions{Addr: "not even an address"})
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*observe.Metrics{"disabled": off, "nil": nil, "zero": new(observe.Metrics)} {
		allocs := testing.AllocsPerRun(10, func() {
			m.Count("in", "hosts", observe.LocationComplete)
			m.ConsulReconnect()
			m.Gauge("time", "hosts", observe.LocationComplete, 3)
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations, want none", name, allocs)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

func TestBadStatsdAddressIsRefusedWithARemedy(t *testing.T) {
	for _, addr := range []string{"localhost", "localhost:", "localhost:statsd", "localhost:0", "localhost:65536", "::1:8125",
		"a:b:c", "x\n:8125:"} {
		_, err := observe.NewMetrics(observe.MetricsOptions{Enabled: true, Addr: addr})
		if err == nil {
			t.Errorf("%q was accepted", addr)
			continue
		}
		if !strings.Contains(err.Error(), "localhost:8125") || !strings.Contains(err.Error(), "DogStatsD") {
			t.Errorf("%q: the error has no remedy: %v", addr, err)
		}
	}
}

func TestUnreachableStatsdDoesNotFail(t *testing.T) {
	gone, addr := listenStatsd(t)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{addr, "host.invalid:8125"} {
		m, err := observe.NewMetrics(observe.MetricsOptions{Enabled: true, Addr: addr, Host: "web1", Direction: "in"})
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		for range 1000 {
			m.Count("out", "hosts", observe.LocationComplete)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: close: %v", addr, err)
		}
	}
}
