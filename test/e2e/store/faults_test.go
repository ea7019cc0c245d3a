package store

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// front is a proxy before a Consul: with TLS if it has a certificate.
func front(t *testing.T, consul, certificate string, config *tls.Config, wrap func(http.Handler) http.Handler) (string, *atomic.Int64) {
	t.Helper()
	handler := http.Handler(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: consul}))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewUnstartedServer(handler)
	var count atomic.Int64
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			count.Add(1)
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	if certificate == "" {
		server.Start()
		return server.Listener.Addr().String(), &count
	}
	pair, err := tls.LoadX509KeyPair(certificate, certificate+".key")
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{pair}
	server.TLS = config
	server.StartTLS()
	return "https://" + server.Listener.Addr().String(), &count
}

// refusal is a front that answers by itself.
func refusal(status int, text string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) })
	}
}

// Each cause has its own words and remedy, and a permanent failure is not retried. The remedies are typed.
func TestFaults(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t, consultest.WithACL())
	m = m.With("CONSUL_HTTP_TOKEN="+s.Token, "PATH="+filepath.Dir(s.Server.Bin)+":/usr/bin:/bin")
	m.Publish(e2e.Text("one", 20))
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	ca := e2e.NewAuthority(t, m.Dir, "ca")
	_, _, good := ca.Sign("good", here, nil, time.Hour)
	_, _, elsewhere := ca.Sign("elsewhere", nil, []string{"consul.example"}, time.Hour)
	_, _, old := ca.Sign("old", here, nil, -time.Hour)
	_, _, foreign := e2e.NewAuthority(t, m.Dir, "foreign-ca").Sign("foreign", here, nil, time.Hour)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	mutual := func() *tls.Config { return &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots} }
	trust, as := "CONSUL_CACERT="+ca.File, func(c string) []string {
		return []string{"CONSUL_CACERT=" + ca.File, "CONSUL_CLIENT_CERT=" + c, "CONSUL_CLIENT_KEY=" + c + ".key"}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := free.Addr().String()
	free.Close()
	banner := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9\r\n")
				_ = conn.Close()
			}
		})
	}
	source := m.File("another", e2e.Text("two", 20))
	for name, c := range map[string]struct {
		certificate string
		tls         *tls.Config
		wrap        func(http.Handler) http.Handler
		addr        string // "": the address of a front; a scheme is put before it
		key         string // "": hosts
		env, args   []string
		words       []string
		cures       []string // the environment that mends it; nil: the flags after "use"
		retried     bool
	}{
		"unknown CA":   {certificate: good, tls: &tls.Config{}, words: []string{"unknown CA", "CONSUL_CACERT"}, cures: []string{trust}},
		"the wrong CA": {certificate: good, tls: &tls.Config{}, env: []string{"CONSUL_CACERT=" + m.Path("foreign-ca")}, words: []string{"unknown CA", m.Path("foreign-ca")}, cures: []string{trust}},
		"wrong name": {certificate: elsewhere, tls: &tls.Config{}, env: []string{trust}, words: []string{"not valid for", "CONSUL_TLS_SERVER_NAME=consul.example"},
			cures: []string{"CONSUL_TLS_SERVER_NAME=consul.example"}},
		"expired":                    {certificate: old, tls: &tls.Config{}, env: []string{trust}, words: []string{"expired", "clock"}},
		"client certificate":         {certificate: good, tls: mutual(), env: []string{trust}, words: []string{"requires a client", "CONSUL_CLIENT_CERT"}, cures: as(good)},
		"foreign client certificate": {certificate: good, tls: mutual(), env: as(foreign), words: []string{"rejects the client", "CONSUL_CLIENT_CERT"}, cures: as(good)},
		"old TLS":                    {certificate: good, tls: &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, env: []string{trust}, words: []string{"TLS version", "1.2"}},
		"http to https":              {certificate: good, tls: &tls.Config{}, addr: "http", env: []string{trust}, words: []string{"only TLS"}},
		"https to http":              {addr: "https", words: []string{"does not speak TLS"}},
		"not HTTP":                   {wrap: banner, words: []string{"does not speak HTTP"}},
		"401":                        {wrap: refusal(401, "who are you "+s.Token), words: []string{"login", "CONSUL_HTTP_AUTH"}},
		"403 of a proxy":             {wrap: refusal(403, "go away"), words: []string{"in front of Consul", "/v1/txn"}},
		"429":                        {wrap: refusal(429, "Your IP is issuing too many concurrent connections"), words: []string{"connections", "http_max_conns_per_client"}, retried: true},
		"429 by rate":                {wrap: refusal(429, "rate limit exceeded"), words: []string{"rate", "request_limits"}, retried: true},
		"502":                        {wrap: refusal(502, "<h1>Bad gateway</h1>"), words: []string{"502", "log"}, retried: true},
		"captive portal":             {wrap: refusal(200, "log in first"), words: []string{"not come from Consul", "log in"}},
		"redirect": {wrap: func(http.Handler) http.Handler {
			return http.RedirectHandler("https://u:hunter2@portal.example/", http.StatusFound)
		}, words: []string{"redirects", "set Consul's own address"}},
		"no such path":  {addr: s.Server.Addr + "/foo", words: []string{"404", "not come from Consul"}},
		"datacenter":    {addr: s.Server.Addr, args: []string{"--datacenter", "nope"}, words: []string{"datacenter of this name", "--datacenter"}},
		"namespace":     {addr: s.Server.Addr, key: "new", env: []string{"CONSUL_NAMESPACE=team"}, words: []string{"namespaces", "CONSUL_NAMESPACE"}},
		"unknown token": {addr: s.Server.Addr, env: []string{"CONSUL_HTTP_TOKEN=11111111-2222-3333-4444-555555555555"}, words: []string{"this token", "--token-file"}},
		"missing right": {addr: s.Server.Addr, env: []string{"CONSUL_HTTP_TOKEN="}, args: []string{"-p", "team/x"}, words: []string{"permission denied", "team/x/hosts/stop", "acl publisher -k hosts -p team/x"}},
		"unknown host":  {addr: "nosuch.invalid:8500", words: []string{"resolved", "getent hosts nosuch.invalid"}, retried: true},
		"refused":       {addr: nowhere, words: []string{"no process listens", "start Consul"}, retried: true},
		"no socket":     {addr: "unix:///nosuch/socket", words: []string{"the socket does not exist", "unix:///nosuch/socket"}, retried: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := *m.With(c.env...)
			m.T = t
			addr, count := c.addr, new(atomic.Int64)
			if !strings.Contains(addr, ":") {
				var at string
				at, count = front(t, s.Server.Addr, c.certificate, c.tls, c.wrap)
				if addr != "" {
					at = addr + "://" + at[strings.LastIndex(at, "/")+1:]
				}
				addr = at
			}
			args := append([]string{"in", "-k", cmp.Or(c.key, "hosts"), "-f", source}, c.args...)
			failing := append(args, "-s", addr)
			if c.retried {
				failing = append(failing, "--retry-for", "0")
			}
			said := m.Fails(7, c.words, failing...) // one line: it was not tried again
			if n := count.Load(); n > 1 {
				t.Errorf("%d connections were made, want one", n)
			}
			if strings.Contains(said, s.Token) || strings.Contains(said, "hunter2") || strings.Contains(said, "{") || len(said) > 700 {
				t.Errorf("this is not fit to show: %s", said)
			}
			for _, command := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(said, -1) {
				typed := strings.ReplaceAll(command[1], "kvexpress ", e2e.Program.Path+" ")
				sh := exec.CommandContext(t.Context(), "sh", "-c", typed)
				sh.Env = m.Env
				if out, err := sh.CombinedOutput(); err != nil && !c.retried {
					t.Errorf("the remedy %s fails: %v\n%s", command[0], err, out)
				}
			}
			if use := regexp.MustCompile(`; use (-s [^ ,]*)`).FindStringSubmatch(said); use != nil {
				m.Ok(append(args, strings.Fields(use[1])...)...)
			} else if c.cures != nil {
				cured := m.With(c.cures...)
				cured.Ok(append(args, "-s", addr)...)
			}
		})
	}
}

// A refusal by Consul's own configuration is not reported as a missing right.
func TestRefusedByConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config map[string]any
		word   string
	}{
		"block_endpoints":       {map[string]any{"http_config": map[string]any{"block_endpoints": []string{"/v1/txn"}}}, "block_endpoints"},
		"allow_write_http_from": {map[string]any{"http_config": map[string]any{"allow_write_http_from": []string{"10.0.0.0/8"}}}, "allow_write_http_from"},
	} {
		t.Run(name, func(t *testing.T) {
			_, m := e2e.Start(t, consultest.WithServer(2), consultest.WithConfig(c.config)) // it needs no leader, and gets none
			for _, args := range [][]string{{"out", "-f", m.Path("hosts")}, {"in", "-f", m.File("source", e2e.Text("one", 20))}} {
				if said := m.Fails(7, []string{c.word, m.Env[len(m.Env)-1][len("CONSUL_HTTP_ADDR="):]}, append(args, "-k", "hosts")...); strings.Contains(said, "acl") {
					t.Errorf("it is reported as a missing right: %s", said)
				}
			}
		})
	}
	t.Run("no leader", func(t *testing.T) {
		_, m := e2e.Start(t, consultest.WithServer(2), consultest.WithConfig(map[string]any{"performance": map[string]any{"rpc_hold_timeout": "10ms"}}))
		m.Fails(7, []string{"no leader", "consul members -http-addr=http://127."}, "out", "-k", "hosts", "-f", m.Path("hosts"), "--retry-for", "0")
	})
}
