//go:build linux

package store

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// tokensFile is the file of tokens of a `kvexpress hub`.
type tokensFile struct {
	path   string
	server *served

	mu     sync.Mutex
	blocks map[string]string // by secret
}

const mayAll = `key_prefix "" { policy = "write" }`

// add writes a token into the file, without a reload.
func (f *tokensFile) add(t testing.TB, rules string) (secret string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	secret = kv.NewID()
	f.blocks[secret] = fmt.Sprintf("token %q {\n  name = \"token-%d\"\n%s\n}\n", secret, len(f.blocks), rules)
	f.write(t)
	return secret
}

func (f *tokensFile) write(t testing.TB) {
	t.Helper()
	text := ""
	for _, block := range f.blocks {
		text += block
	}
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload is a hang-up, and waits until the hub knows, or no longer knows, the secret.
func (f *tokensFile) reload(t testing.TB, secret string, known bool) {
	t.Helper()
	f.server.Signal(syscall.SIGHUP)
	e2e.Eventually(t, "the hub reads its tokens", func() bool {
		_, body, err := consultest.At(t, f.server.addr, "").Request(http.MethodGet, "/v1/kv/?keys", secret, nil)
		return err == nil && known != strings.Contains(string(body), "ACL not found")
	})
}

// startGuardedServe is a `kvexpress hub` with tokens, in the place of a Consul with ACLs.
func startGuardedServe(t *testing.T) *guarded {
	t.Helper()
	f := &tokensFile{path: filepath.Join(t.TempDir(), "tokens.hcl"), blocks: map[string]string{}}
	root := f.add(t, mayAll)
	f.server = serve(t, "--tokens", f.path)
	s := &e2e.Store{T: t, Server: consultest.At(t, f.server.addr, root), Token: root}
	return &guarded{
		Store: s, admin: e2e.NewMachine(t, f.server.addr, "CONSUL_HTTP_TOKEN="+root),
		newToken: func(t testing.TB, rules string) string {
			secret := f.add(t, rules)
			f.reload(t, secret, true)
			return secret
		},
		revoke: func(t testing.TB, secret string) {
			f.mu.Lock()
			delete(f.blocks, secret)
			f.write(t)
			f.mu.Unlock()
			f.reload(t, secret, false)
		},
	}
}

// The policies that `kvexpress acl` prints suffice, and no more, on Consul and on a hub.
func TestPolicies(t *testing.T) {
	t.Parallel()
	stores := map[string]func(*testing.T) *guarded{"Consul": startGuarded, "a hub": startGuardedServe}
	for name, test := range map[string]func(*testing.T, *guarded){
		"publisher": publisherPolicy, "node": nodePolicy, "operator": operatorPolicy, "nested": nestedPublisherPolicy,
		"without rights": withoutRights, "reports": receiptPolicies, "events": eventPolicies,
	} {
		for store, start := range stores {
			t.Run(name+" on "+store, func(t *testing.T) {
				t.Parallel()
				test(t, start(t))
			})
		}
	}
}

// certificates makes an authority, NAME-ca.crt, and a certificate of it for 127.0.0.1 and
// store.example, NAME.crt with the key NAME.crt.key.
func certificates(t *testing.T, dir, name string) {
	t.Helper()
	e2e.NewAuthority(t, dir, name+"-ca.crt").Sign(name+".crt", []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"store.example"}, time.Hour)
}

// Beyond loopback, over TLS: kvexpress and `consul kv` work, clients without a token or with an unknown one do not, and a new
// certificate is used after a hang-up.
func TestServeBeyondLoopback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificates(t, dir, "store")
	certificates(t, dir, "client")
	at := func(name string) string { return filepath.Join(dir, name) }
	f := &tokensFile{path: at("tokens.hcl"), blocks: map[string]string{}}
	root := f.add(t, mayAll)
	own := ""
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			own = ip.IP.String()
		}
	}
	s := serve(t, "--listen", "0.0.0.0:0", "--tokens", f.path, "--tls-cert", at("store.crt"), "--tls-key", at("store.crt.key"),
		"--tls-client-ca", at("client-ca.crt"))
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	m := e2e.NewMachine(t, addr, "CONSUL_HTTP_SSL=true", "CONSUL_CACERT="+at("store-ca.crt"),
		"CONSUL_CLIENT_CERT="+at("client.crt"), "CONSUL_CLIENT_KEY="+at("client.crt.key"))
	may := m.With("CONSUL_HTTP_TOKEN=" + root)
	may.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("one", 20)))
	may.Ok("out", "-k", "hosts", "-f", m.Path("hosts"))
	m.Holds("hosts", e2e.Text("one", 20))
	if r := may.Exec(consultest.Binary(t), []string{"kv", "get", "-keys", "kvexpress/hosts/"}); r.Code != 0 ||
		!strings.Contains(r.Stdout, "kvexpress/hosts/data") {
		t.Errorf("consul kv: %+v", r)
	}
	// By another name, which only its certificate knows, and by its other address.
	pair, err := tls.LoadX509KeyPair(at("client.crt"), at("client.crt.key"))
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(contentOf(t, at("store-ca.crt")))
	conn, err := tls.Dial("tcp", addr,
		&tls.Config{ServerName: "store.example", RootCAs: trust, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/status/leader HTTP/1.1\r\nHost: store.example:8501\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("by another name: %+v %v", resp, err)
	}
	if own != "" {
		if r := may.With("CONSUL_TLS_SERVER_NAME=store.example", "CONSUL_HTTP_ADDR="+net.JoinHostPort(own, port)).Run("out", "-k",
			"hosts", "-f", m.Path("hosts")); r.Code != 0 {
			t.Errorf("by its address %s: %+v", own, r)
		}
	}
	m.Fails(7, []string{"permission denied"}, "in", "-k", "hosts", "-f", m.Path("source"), "--retry-for", "0s")
	may.With("CONSUL_CLIENT_CERT=", "CONSUL_CLIENT_KEY=").Fails(7, []string{"unreachable"}, "in", "-k", "hosts", "-f",
		m.Path("source"), "--retry-for", "0s")
	may.With("CONSUL_HTTP_SSL=false").Fails(7, []string{"HTTPS server"}, "in", "-k", "hosts", "-f", m.Path("source"),
		"--retry-for", "0s")

	// A file that is no good leaves all as it was, and a good one is used.
	hangup := func(until string) {
		t.Helper()
		before := strings.Count(s.Said(), until)
		s.Signal(syscall.SIGHUP)
		e2e.Eventually(t, until, func() bool { return strings.Count(s.Said(), until) > before })
	}
	good := contentOf(t, f.path)
	for _, wrong := range []string{"token", `token "` + root + `" { name = "x" nonsense "y" {} }`} {
		if err := os.WriteFile(f.path, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		hangup("reload refused")
		may.Ok("in", "-k", "hosts", "-f", m.Path("source"))
	}
	if err := os.WriteFile(f.path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	certificates(t, dir, "store")
	hangup("tokens and certificates reloaded")
	may.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("two", 20)))
	if said := s.Said(); strings.Contains(said, root) || !strings.Contains(said, "line 1") {
		t.Errorf("the log:\n%s", said)
	}
}

func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A token loses a right: its waiting requests do not return the rows.
func TestRevokedWhileWaiting(t *testing.T) {
	t.Parallel()
	g := startGuardedServe(t)
	g.Put("a", "1", 0)
	secret := g.newToken(t, `key "a" { policy = "read" }`)
	status, body := g.Request(http.MethodGet, "/v1/kv/a", nil)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	answered := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			fmt.Sprintf("http://%s/v1/kv/a?raw&wait=1m&index=%d", g.Server.Addr, g.Get("a").ModifyIndex), nil)
		if err != nil {
			answered <- err.Error()
			return
		}
		req.Header.Set("X-Consul-Token", secret)
		resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		answered <- fmt.Sprint(resp.StatusCode, " ", string(b), " ", err)
	}()
	g.revoke(t, secret)
	g.Put("a", "hidden", 0)
	if got := <-answered; strings.Contains(got, "hidden") || !strings.HasPrefix(got, "403") {
		t.Errorf("it gets %s", got)
	}
}
