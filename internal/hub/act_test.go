package hub

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"kvexpress/internal/embedded"
)

// Who may act on the page at all: the token decides where the store checks it, and the place of the caller elsewhere.
func TestMayAct(t *testing.T) {
	allow := func(string, bool) bool { return false }
	known := embedded.Tokens(func(token string) (embedded.Rule, bool) { return allow, token == "known" || token == "" })
	for name, c := range map[string]struct {
		acls, tls, certificates bool
		from, token, proxy      string
		may                     bool
	}{
		"with a token, over TLS":                  {acls: true, tls: true, from: "10.0.0.9:1", token: "known", may: true},
		"with a token, here":                      {acls: true, from: "127.0.0.1:1", token: "known", may: true},
		"with a token, in plain":                  {acls: true, from: "10.0.0.9:1", token: "known"},
		"without a token":                         {acls: true, tls: true, from: "10.0.0.9:1"},
		"without a token, here":                   {acls: true, from: "[::1]:1"},
		"no ACLs, here":                           {from: "127.0.0.1:1", may: true},
		"no ACLs, through a proxy here":           {from: "127.0.0.1:1", proxy: "X-Forwarded-For"},
		"no ACLs, through another proxy here":     {from: "127.0.0.1:1", proxy: "Via"},
		"with a token, through a proxy here":      {acls: true, from: "127.0.0.1:1", proxy: "Forwarded", token: "known", may: true},
		"no ACLs, through a socket":               {from: "@", may: true},
		"no ACLs, from elsewhere":                 {tls: true, from: "10.0.0.9:1"},
		"no ACLs, any token, from elsewhere":      {tls: true, from: "10.0.0.9:1", token: "anything"},
		"no ACLs, with a certificate, over TLS":   {tls: true, certificates: true, from: "10.0.0.9:1", may: true},
		"ACLs and a certificate, without a token": {acls: true, tls: true, certificates: true, from: "10.0.0.9:1"},
	} {
		store := embedded.New()
		if c.acls {
			store = embedded.New(known)
		}
		h := &Hub{o: Options{Metrics: MetricsOptions{Store: store}}, agents: &agents{secure: c.tls}}
		if c.certificates {
			h.o.Files.ClientCA = "ca.pem"
		}
		r := httptest.NewRequest(http.MethodPost, "/act/hosts", http.NoBody)
		r.RemoteAddr = c.from
		if c.token != "" {
			r.Header.Set("X-Consul-Token", c.token)
		}
		if c.proxy != "" {
			r.Header.Set(c.proxy, "10.0.0.9")
		}
		if err := h.mayAct(r); (err == nil) != c.may {
			t.Errorf("%s: %v", name, err)
		}
	}
}
