package httpd

import (
	"bufio"
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
	"testing"
	"time"
)

// testLimit is how long a test waits for what must happen.
const testLimit = 30 * time.Second

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serving answers on a listener until the test ends, and then expects a good end.
func serving(t *testing.T, l net.Listener, h http.Handler, options ...Options) {
	t.Helper()
	o := ForPages()
	if len(options) > 0 {
		o = options[0]
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, h, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve ends with %v", err)
		}
	})
}

func ok() http.Handler {
	return Pages{"/status": Verdict(func() error { return nil })}
}

// request writes a request by hand, and returns the answer's status; 0 if there is none.
func request(t *testing.T, l net.Listener, text string) int {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	err = conn.SetDeadline(time.Now().Add(testLimit))
	if err == nil {
		_, err = io.WriteString(conn, text)
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// A web page whose owner lets its name lead to this machine learns nothing.
func TestOnlyKnownHostsOverTCP(t *testing.T) {
	l := listen(t, "localhost:0")
	serving(t, l, ok())
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
		for _, path := range []string{"/status", "/"} {
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

// The host name in `listen` is allowed, other names of the same address are not.
func TestTheNameOfTheListener(t *testing.T) {
	inner := listen(t, "127.0.0.1:0")
	l := &namedListener{Listener: inner.(*namedListener).Listener, host: "Metrics.Example"}
	serving(t, l, ok())
	for host, want := range map[string]int{"metrics.example:9100": 200, "METRICS.EXAMPLE": 200, "example": 403,
		"other.example": 403} {
		if got := request(t, l, "GET /status HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
}

// A web page cannot use a socket, so any Host is allowed there.
func TestAnyHostOverASocket(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "agent.sock"))
	serving(t, l, ok())
	if got := request(t, l, "GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n"); got != 200 {
		t.Errorf("%d, want 200", got)
	}
}

func TestServerLimits(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "agent.sock"))
	serving(t, l, ok())
	if got := request(t, l, "GET /status HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x",
		64<<10)+"\r\n\r\n"); got != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of headers: %d, want 431", got)
	}
}

// A client that sends nothing, or half a request, is disconnected.
func TestASlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	serving(t, l, ok())
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

// The server finishes a pending answer before it ends.
func TestTheEndIsGraceful(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "agent.sock"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			<-r.Context().Done() // as a request that waits
			fmt.Fprintln(w, "done")
		}), ForPages())
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
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
				writing.Do(func() { close(begun) })
			}
		}), ForPages())
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
	err := Serve(t.Context(), l, ok(), ForPages())
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

// connect opens a connection from an address of the loopback network, and says something.
func connect(t *testing.T, l net.Listener, from, text string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// aliens makes connections of the loopback network look as if they came from other machines.
type aliens struct{ net.Listener }

func (a *aliens) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from, _ := c.RemoteAddr().(*net.TCPAddr)
	return &alien{Conn: c, from: &net.TCPAddr{IP: net.IPv4(192, 0, 2, from.IP.To4()[3]), Port: from.Port}}, nil
}

type alien struct {
	net.Conn
	from net.Addr
}

func (a *alien) RemoteAddr() net.Addr { return a.from }
