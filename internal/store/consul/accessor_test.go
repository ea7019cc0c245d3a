package consul_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/store/consul"
)

// The accessor of a token is known or not, and never holds anything up, nor is it the token itself.
func TestAccessor(t *testing.T) {
	withoutEnvironment(t)
	const id, secret = "5f0c1d2e-0000-1111-2222-333333333333", "0f0c1d2e-0000-1111-2222-333333333333"
	for name, c := range map[string]struct {
		answer string
		status int
		token  string
		want   string
	}{
		"known":            {`{"AccessorID":"` + id + `","SecretID":"` + secret + `"}`, 200, secret, id},
		"no token":         {`{"AccessorID":"` + id + `"}`, 200, "", ""},
		"its secret":       {`{"AccessorID":"` + secret + `"}`, 200, secret, ""},
		"no id":            {`{"AccessorID":"` + strings.Repeat("x", 36) + `"}`, 200, secret, ""},
		"no JSON":          {`<html>`, 200, secret, ""},
		"too much":         {`{"AccessorID":"` + id + `","x":"` + strings.Repeat("x", 1<<20) + `"}`, 200, secret, ""},
		"ACLs are off":     {"ACL support disabled", 401, secret, ""},
		"blocked":          {"Endpoint is blocked by agent configuration", 403, secret, ""},
		"an older serve":   {"not found", 404, secret, ""},
		"no answer at all": {"", 0, secret, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if c.status == 0 {
					<-r.Context().Done()
					return
				}
				if r.URL.Path != "/v1/acl/token/self" || c.token == "" {
					t.Errorf("asked for %s", r.URL)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			})
			s := open(t, consul.Options{Addr: server.URL, Token: c.token})
			if got := s.Accessor(t.Context()); got != c.want || strings.Contains(got, secret) {
				t.Errorf("it is %q, want %q", got, c.want)
			}
		})
	}
}
