package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A web page whose owner lets its name lead to this machine learns nothing.
func TestOnlyKnownHostsOverTCP(t *testing.T) {
	l := listen(t, "localhost:0")
	serving(t, l, Handler(sample, fine, fine))
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		l.Addr().String():         200,
		"127.0.0.1":               200,
		"localhost":               200,
		"localhost:" + port:       200,
		"LocalHost.:" + port:      200,
		"[::1]:" + port:           200,
		"[::1]":                   200,
		"10.1.2.3:9100":           200,
		machine + ":" + port:      200,
		"":                        200,
		"evil.example":            403,
		"evil.example:" + port:    403,
		"127.0.0.1.evil.example":  403,
		"localhost.evil.example":  403,
		machine + ".evil.example": 403,
		"evil.example.":           403,
		"[evil.example]":          403,
		"0x7f.1":                  403,
		"2130706433":              403,
		"a:b:c":                   403,
	} {
		for _, path := range []string{"/status", "/metrics", "/healthz", "/"} {
			if path == "/" && want == 200 {
				continue
			}
			if got := request(t, l, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); got != want {
				t.Errorf("Host %q, %s: %d, want %d", host, path, got, want)
			}
		}
	}
	// The host may also be in the first line, which counts then.
	if got := request(t, l, "GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n"); got != 403 {
		t.Errorf("an absolute address: %d, want 403", got)
	}
	if got := request(t, l, "GET /status HTTP/1.0\r\n\r\n"); got != 200 {
		t.Errorf("HTTP/1.0 without a host: %d, want 200", got)
	}
}

// The name that `listen` has is answered to, others of the same address are not.
func TestTheNameOfTheListener(t *testing.T) {
	inner := listen(t, "127.0.0.1:0")
	l := &namedListener{Listener: inner.(*namedListener).Listener, host: "Metrics.Example"}
	serving(t, l, Handler(sample, fine, fine))
	for host, want := range map[string]int{"metrics.example:9100": 200, "METRICS.EXAMPLE": 200, "example": 403, "other.example": 403} {
		if got := request(t, l, "GET /status HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
}

// Over a socket no page can ask, and the client's Host is anything.
func TestAnyHostOverASocket(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "agent.sock"))
	serving(t, l, Handler(sample, fine, fine))
	if got := request(t, l, "GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n"); got != 200 {
		t.Errorf("%d, want 200", got)
	}
}

func TestServerLimits(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "agent.sock"))
	serving(t, l, Handler(sample, fine, fine))
	if got := request(t, l, "GET /status HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"); got != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of headers: %d, want 431", got)
	}
}

// Who connects and then says nothing, or half a request, is cut off.
func TestASlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	serving(t, l, Handler(sample, fine, fine))
	var clients []net.Conn
	for _, text := range []string{"", "GET /status HTTP/1.1\r\nHost: local"} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, conn)
	}
	for i, conn := range clients {
		if err := conn.SetReadDeadline(time.Now().Add(testLimit)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("client %d is still connected", i)
		}
	}
}

// At most 64 are served at a time; the others wait, and are served then.
func TestTooManyConnections(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	const clients = 100
	var now, peak, waiting atomic.Int64
	release := make(chan struct{})
	serving(t, l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		<-release
		now.Add(-1)
	}))
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			waiting.Add(1)
			if got := request(t, l, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); got != 200 {
				t.Errorf("%d, want 200", got)
			}
		})
	}
	eventually(t, func() bool { return waiting.Load() == clients && now.Load() >= maxConns })
	<-time.After(200 * time.Millisecond) // time for more of them, if there were no limit
	close(release)
	all.Wait()
	if peak.Load() != maxConns {
		t.Errorf("%d were served at the same time, want %d", peak.Load(), maxConns)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.After(testLimit); !ok(); {
		select {
		case <-end:
			t.Fatal("it did not happen")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// The end waits for an answer that is under way.
func TestTheEndIsGraceful(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "agent.sock"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-ctx.Done()
			fmt.Fprintln(w, "done")
		}))
	}()
	code := make(chan int, 1)
	go func() { code <- request(t, l, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
	<-begun
	cancel()
	if got := <-code; got != 200 {
		t.Errorf("%d, want 200", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(l.Addr().String()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// A client that never reads, one that never finishes its request and one that is
// idle do not hold up the end, and leave no goroutine.
func TestTheEndDoesNotWaitForSlowClients(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "agent.sock"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writing sync.Once
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/endless" {
				return
			}
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
				writing.Do(func() { close(begun) })
			}
		}))
	}()
	for _, text := range []string{"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(testLimit):
		t.Fatal("Serve does not end")
	}
	eventually(t, func() bool { // the last instructions of a goroutine come after its last sign of life
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "net/http.(*conn).serve")
	})
}

// A listener that breaks is an error, and not a silent end.
func TestABrokenListenerIsAnError(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	err := Serve(t.Context(), l, Handler(sample, fine, fine))
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}
