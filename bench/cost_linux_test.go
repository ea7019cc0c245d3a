package bench

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// BenchmarkFleetCost: requests and bytes of a node, per change, and with
// KVEXPRESS_SOAK=1 per minute at rest. They pass a counter, which would distort
// the times of the other benchmarks.
func BenchmarkFleetCost(b *testing.B) {
	const nodes, changes = 20, 5
	kinds := wanted(b, ours, floorRaw, floorRecursive, consulTemplate)
	t := buildTools(b, kinds...)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	table := newTable()
	fmt.Fprintf(table, "%d nodes, %d changes\trequests/change\tbytes/change\trequests/minute at rest\tbytes/minute at rest\t\n", nodes, changes)
	for i, k := range kinds {
		c := newCounter(b, server.Addr, 4*nodes)
		r := t.begin(b, k, c.addr, nodes, pub)
		r.change()
		before := c.count()
		for range changes {
			r.change()
		}
		per := c.count().since(before, changes*nodes)
		fmt.Fprintf(table, "%s\t%.2f\t%.0f", k, per.requests, per.bytes)
		if i == 0 {
			b.ReportMetric(per.requests, "requests/change")
			b.ReportMetric(per.bytes, "bytes/change")
		}
		if soaking() {
			const waits = 128 * time.Second // two of 60 s, each with up to a sixteenth on top
			before = c.count()
			rest(b, waits, r.fleet)
			per = c.count().since(before, nodes)
			minutes := waits.Minutes()
			fmt.Fprintf(table, "\t%.2f\t%.0f\t\n", per.requests/minutes, per.bytes/minutes)
		} else {
			fmt.Fprint(table, "\t–\t–\t\n")
		}
		r.end()
		c.close()
	}
	table.print(b)
}

// rest waits while nothing happens, and nothing may.
func rest(b *testing.B, d time.Duration, fleets ...*fleet) {
	b.Helper()
	time.Sleep(d)
	for _, f := range fleets {
		select {
		case err := <-f.died:
			b.Fatal(err)
		default:
		}
	}
}

// counter is a proxy before Consul that counts what its clients send and get.
type counter struct {
	addr            string
	server          *http.Server
	served          chan error
	transport       *http.Transport
	requests, bytes atomic.Int64
}

// newCounter starts one for so many connections.
func newCounter(b *testing.B, to string, conns int) *counter {
	b.Helper()
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c := &counter{addr: l.Addr().String(), served: make(chan error, 1)}
	c.transport = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: conns}
	proxy := &httputil.ReverseProxy{
		Transport: c.transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: to}) },
		// A client that ends leaves a query behind, which is no error.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	c.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		proxy.ServeHTTP(w, r)
	})}
	go func() { c.served <- c.server.Serve(countedListener{l, &c.bytes}) }()
	b.Cleanup(c.close)
	return c
}

func (c *counter) close() {
	if c.server.Close(); c.served != nil {
		if err := <-c.served; !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
		c.served = nil
		c.transport.CloseIdleConnections()
	}
}

type countedListener struct {
	net.Listener
	bytes *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConn{conn, l.bytes}, nil
}

// counted is what has passed.
type counted struct{ requests, bytes float64 }

func (c *counter) count() counted {
	return counted{float64(c.requests.Load()), float64(c.bytes.Load())}
}

// since is what passed after an earlier count, divided by n.
func (c counted) since(before counted, n int) counted {
	return counted{(c.requests - before.requests) / float64(n), (c.bytes - before.bytes) / float64(n)}
}
