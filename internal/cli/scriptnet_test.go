package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"kvexpress/internal/record"
)

// serve starts an HTTP server and puts its address into $URL, and host and port
// alone into $PORTAL. It serves the file "served" of the script at /file; other
// paths misbehave. What it does not know it answers as a captive portal does, with
// a page and status 200.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 0, "serve")
	served := ts.MkAbs("served") // ts is not for other goroutines
	mux := http.NewServeMux()
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) {
		b, err := os.ReadFile(served)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b) // the client tells if it did not arrive
	})
	mux.Handle("/redirect", http.RedirectHandler("/file", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	page := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.Repeat("<p>Please log in.</p>\n", 20))
		}
	}
	mux.Handle("/missing", page(http.StatusNotFound))
	mux.Handle("/broken", page(http.StatusInternalServerError))
	mux.Handle("/", page(http.StatusOK))
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		block := bytes.Repeat([]byte("one more line\n"), 4096)
		for sent := 0; sent <= record.MaxPlain; sent += len(block) {
			if _, err := w.Write(block); err != nil {
				return // the client has had enough
			}
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("URL", server.URL)
	ts.Setenv("PORTAL", server.Listener.Addr().String())
}

// babbler starts a server that answers as the store does, and sends one answer too many each time, with the headers of the
// request in it. Its address is in $BABBLER.
func cmdBabbler(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 0, "babbler")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv("BABBLER", l.Addr().String())
	store := ts.Getenv("CONSUL_HTTP_ADDR")
	// One request a connection: a client that has sent its next one takes the answer too
	// many for its own, and tries again.
	babble := func(conn net.Conn) error {
		defer conn.Close()
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return err
		}
		req.URL.Scheme, req.URL.Host, req.RequestURI = "http", store, ""
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		var out bytes.Buffer
		if err := resp.Write(&out); err != nil {
			return err
		}
		out.WriteString("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n")
		req.Header.Del("Content-Length")
		if err := req.Header.Write(&out); err != nil {
			return err
		}
		out.WriteString("\r\n")
		_, err = conn.Write(out.Bytes())
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the script has ended
			}
			go func() { _ = babble(conn) }() // ends with the client
		}
	}()
}

// statsd listens for metrics, and puts the address into $STATSD. statsd PATTERN
// wants one of the packets that have come so far to match; ! statsd PATTERN, none.
func cmdStatsd(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, len(args) > 1 || neg && len(args) == 0, "statsd | [!] statsd PATTERN")
	s, _ := ts.Value(statsdKey{}).(*statsdServer)
	if len(args) == 0 {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { _ = conn.Close() })
		s.conn = conn
		s.got.Reset()
		ts.Setenv("STATSD", conn.LocalAddr().String())
		return
	}
	usageError(ts, s.conn == nil, "statsd, before statsd PATTERN")
	ts.Check(s.drain())
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	if re.MatchString(s.got.String()) == neg {
		ts.Fatalf("these metrics have come:\n%s", s.got.String())
	}
}

type statsdServer struct {
	conn net.PacketConn
	got  bytes.Buffer
}

// drain takes in all packets that have come: a packet of our own, which loopback
// puts behind them, is the last.
func (s *statsdServer) drain() error {
	const last = "the last one"
	conn, err := net.Dial("udp", s.conn.LocalAddr().String())
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, last); err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	packet := make([]byte, 64<<10)
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		n, _, err := s.conn.ReadFrom(packet)
		if err != nil {
			return errors.Join(errors.New("the last packet did not come"), err)
		}
		if string(packet[:n]) == last {
			return nil
		}
		s.got.Write(packet[:n])
		s.got.WriteByte('\n')
	}
}
