package httpd

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Any number of idle connections blocks no new one, also not of the same client.
func TestIdleConnectionsGiveWay(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	serving(t, l, ok())
	const get = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for n := range 150 {
		conn := connect(t, l, "127.0.0.2", []string{"", get}[n%2])
		if n%2 == 1 {
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatalf("connection %d: %v", n, err)
			}
		}
	}
	for range 3 {
		if got := request(t, l, get); got != http.StatusOK {
			t.Errorf("%d, want 200", got)
		}
	}
}

// Requests in progress keep their connections, up to the limit of their client, and leave room for others.
func TestLimitOfEachClient(t *testing.T) {
	for _, tt := range []struct {
		name              string
		o                 Options
		clients, all, one int // clients, and of their connections how many are served: of all, and of each
	}{
		{"in all", Options{Conns: 8}, 2, 8, 8},
		{"each", Options{PerClient: 3}, 3, 9, 3},
		{"both", Options{Conns: 7, PerClient: 3}, 3, 7, 3},
		{"none", Options{}, 2, 20, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inner := listen(t, "127.0.0.1:0")
			l := &aliens{Listener: inner}
			var mu sync.Mutex
			served := map[string]int{}
			all := 0
			release := make(chan struct{})
			tt.o.Answer, tt.o.Request = time.Minute, time.Minute
			serving(t, l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				host, _, _ := net.SplitHostPort(r.RemoteAddr)
				count := func(n int) {
					mu.Lock()
					defer mu.Unlock()
					served[host] += n
					all += n
				}
				count(1)
				defer count(-1)
				select {
				case <-release:
				case <-r.Context().Done(): // its connection was closed before it was known to have a request
				}
			}), tt.o)
			defer close(release)
			for n := range 10 {
				for client := range tt.clients {
					conn := connect(t, inner, fmt.Sprintf("127.0.0.%d", 10+client), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
					if n >= tt.one { // it is closed
						if got, err := conn.Read(make([]byte, 1)); err == nil {
							t.Fatalf("connection %d of a client: %d bytes", n, got)
						}
					}
					want := min(tt.all, tt.clients*min(n, tt.one)+min(client+1, tt.clients*max(0, tt.one-n)))
					eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return all == want })
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for client, n := range served {
				if n > tt.one {
					t.Errorf("%s has %d, want at most %d", client, n, tt.one)
				}
			}
		})
	}
}
