package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// dialTime limits a connection with its TLS and WebSocket handshakes.
const dialTime = 10 * time.Second

// Dialer connects to hubs.
type Dialer struct {
	// TLS has the authorities of hubs, and a client certificate. nil: no TLS, for hubs on this machine only.
	TLS *tls.Config
}

// ErrNotHub: something else than a hub answers at the address.
var ErrNotHub = errors.New("it is not a hub")

// Dial connects to a hub: host:port, or the absolute path of a socket. Without TLS it connects to this machine only. An error
// names the address, the cause and a remedy.
func (d Dialer) Dial(ctx context.Context, addr string) (Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := d.dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the hub %s: %w", addr, err)
	}
	return c, nil
}

func (d Dialer) dial(ctx context.Context, addr string) (Conn, error) {
	client, base := d.client(addr)
	asked := time.Now()
	options := &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{Protocol}}
	ws, answer, err := websocket.Dial(ctx, base+Path, options) //nolint:bodyclose // the library closes it
	switch {
	case err != nil && answer != nil && d.TLS == nil && speaksTLS(answer):
		return nil, errors.New("it speaks TLS; set hub_ca")
	case err != nil && answer != nil:
		return nil, fmt.Errorf("%w: it answers with HTTP status %d; check its address", ErrNotHub, answer.StatusCode)
	case err != nil:
		return nil, explain(err)
	case ws.Subprotocol() != Protocol:
		_ = ws.CloseNow()
		return nil, fmt.Errorf("it does not speak %s; use the same version of kvexpress on both sides", Protocol)
	}
	ws.SetReadLimit(MaxFromHub)
	s := &socket{ws: ws, peer: addr, hub: true}
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil { // in whole seconds, and between the two
		now := time.Now()
		s.ahead, s.dated = max(asked.Sub(date.Add(time.Second)), min(now.Sub(date), 0)), true
	}
	return s, nil
}

// Offset is the smallest possible skew of this machine's clock against the other side's at the handshake: positive if it is
// ahead. ok is false if unknown.
func Offset(c Conn) (offset time.Duration, ok bool) {
	s, _ := c.(*socket)
	if s == nil {
		return 0, false
	}
	return s.ahead, s.dated
}

// speaksTLS reports whether a server of Go has answered a request without TLS, and wants TLS.
func speaksTLS(answer *http.Response) bool {
	b, err := io.ReadAll(io.LimitReader(answer.Body, 256))
	return err == nil && answer.StatusCode == http.StatusBadRequest && strings.Contains(string(b), "HTTPS server")
}

// client is an HTTP client for one connection to a hub, and the begin of its URLs.
func (d Dialer) client(addr string) (c *http.Client, base string) {
	network, host, scheme := "tcp", addr, "http://"
	if filepath.IsAbs(addr) {
		network, host = "unix", "localhost"
	}
	if d.TLS != nil {
		scheme = "https://"
	}
	transport := &http.Transport{TLSClientConfig: d.TLS, DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok && d.TLS == nil && !tcp.IP.IsLoopback() {
				_ = c.Close() // nothing was sent
				return nil, errors.New("without TLS only hubs on this machine are asked; set hub_ca")
			}
			return c, nil
		}}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}, scheme + host
}

// explain adds what to do to an error of a handshake.
func explain(err error) error {
	if get := (*url.Error)(nil); errors.As(err, &get) {
		err = get.Err // without the address, which is named already
	}
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
		err = dial.Err // the same
	}
	says := err.Error()
	switch authority := (*tls.CertificateVerificationError)(nil); {
	case errors.As(err, &authority):
		return fmt.Errorf("%w; check hub_ca and hub_server_name", err)
	case strings.Contains(says, "HTTP response to HTTPS client"), strings.Contains(says, "does not look like a TLS handshake"):
		return fmt.Errorf("%w: it does not speak TLS; remove hub_ca, or give the hub --tls-cert", ErrNotHub)
	case strings.Contains(says, "certificate required"), strings.Contains(says, "bad certificate"):
		return fmt.Errorf("%w: it wants a client certificate; set hub_client_cert and hub_client_key", err)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%w; start the hub there, or correct its address", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Errorf("%w; check the network and the firewall on the way to it", err)
	}
	if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) {
		return fmt.Errorf("%w; correct DNS, or its address", err)
	}
	return err
}

// largeFrom is the size in bytes from which a message of an agent is large.
const largeFrom = 128 << 10

// Large are places for large messages of agents, for all connections of a hub: any client can send them. Read waits for
// a place, and keeps it until the next Read, or Close.
type Large chan struct{}

// Accept answers the handshake of an agent. After an error it has answered the request. A nil Large has no limit.
func Accept(w http.ResponseWriter, r *http.Request, large Large) (Conn, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}})
	if err != nil {
		return nil, fmt.Errorf("accept an agent: %w", err)
	}
	if ws.Subprotocol() != Protocol {
		err := fmt.Errorf("%s does not speak %s", r.RemoteAddr, Protocol)
		return nil, errors.Join(err, ws.Close(websocket.StatusPolicyViolation, "this hub speaks "+Protocol))
	}
	ws.SetReadLimit(MaxFromAgent)
	return &socket{ws: ws, peer: r.RemoteAddr, names: names(r.TLS), large: large}, nil
}

// names are those of the client certificate of a connection. They are valid only if the server verifies certificates.
func names(c *tls.ConnectionState) []string {
	if c == nil || len(c.VerifiedChains) == 0 {
		return nil
	}
	leaf := c.VerifiedChains[0][0]
	if leaf.Subject.CommonName == "" {
		return leaf.DNSNames
	}
	return append(slices.Clone(leaf.DNSNames), leaf.Subject.CommonName)
}

// socket is a Conn over a WebSocket.
type socket struct {
	ws    *websocket.Conn
	peer  string
	names []string // of a verified client certificate
	hub   bool     // the other side is a hub

	ahead time.Duration // see Offset
	dated bool

	large Large
	mu    sync.Mutex
	holds bool // a place
}

func (s *socket) Peer() string { return s.peer }

func (s *socket) Names() []string { return s.names }

func (s *socket) Close() error {
	s.release()
	return s.ws.CloseNow()
}

func (s *socket) Read(ctx context.Context) ([]byte, error) {
	b, err := s.read(ctx)
	if status := websocket.CloseStatus(err); status != -1 {
		err = fmt.Errorf("the other side closed the connection (%s)", status)
	}
	return b, err
}

// read believes the head only of a hub's message: an agent could make a hub allocate more than it sends.
func (s *socket) read(ctx context.Context) ([]byte, error) {
	kind, r, err := s.ws.Reader(ctx)
	switch {
	case err != nil:
		return nil, err
	case kind == websocket.MessageBinary && s.hub:
		return readData(r)
	}
	s.release()
	b, err := io.ReadAll(io.LimitReader(r, largeFrom))
	if err != nil || len(b) < largeFrom {
		return b, err
	}
	if s.large != nil {
		select {
		case s.large <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		s.mu.Lock()
		s.holds = true
		s.mu.Unlock()
	}
	rest, err := io.ReadAll(r)
	return append(b, rest...), err
}

// release gives the place back.
func (s *socket) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds {
		s.holds = false
		<-s.large
	}
}

func (s *socket) Write(ctx context.Context, message []byte) error {
	kind := websocket.MessageBinary
	if len(message) > 0 && message[0] == '{' {
		kind = websocket.MessageText
	}
	return s.ws.Write(ctx, kind, message)
}
