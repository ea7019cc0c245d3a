package consul_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// A check that did not run neither denies nor permits: only Consul's words about each row do.
func TestDeniedAnswers(t *testing.T) {
	const theirs = "7a1e0000-0000-4000-8000-00000000cafe"
	const txn, proven = "application/json", `{"OpIndex":0,"What":"failed to check index, key \"r\" doesn't exist"}`
	tests := []struct {
		name   string
		status int
		kind   string // of the content
		body   string
		denied string
		want   error
	}{
		{"permitted", 409, txn, `{"Results":null,"Errors":[` + proven + `,{"OpIndex":1,"What":"key \"w\" exists"}]}`, "", nil},
		{"denied", 409, txn, `{"Results":null,"Errors":[{"OpIndex":1,"What":"Permission denied: …"}]}`, "w", nil},
		{"a success that proves no read", 200, txn, `{"Results":[],"Errors":null}`, "", kv.ErrNotStore},
		{"no reason", 409, txn, `{"Results":null,"Errors":null}`, "", kv.ErrNotStore},
		{"another operation", 409, txn, `{"Results":null,"Errors":[` + proven + `,{"OpIndex":2,"What":"Permission denied"}]}`, "", kv.ErrNotStore},
		{"other words about a read", 409, txn, `{"Results":null,"Errors":[{"OpIndex":0,"What":"busy"}]}`, "", kv.ErrRequest},
		{"other words about a write", 409, txn, `{"Results":null,"Errors":[` + proven + `,{"OpIndex":1,"What":"unknown KV operation: x"}]}`,
			"", kv.ErrRequest},
		{"unknown token", 403, "text/plain", "rpc error: ACL not found", "", kv.ErrDenied},
		{"block_endpoints", 403, "text/plain", "Endpoint is blocked by agent configuration", "", kv.ErrRequest},
		{"allow_write_http_from", 403, "text/plain", "Access is restricted", "", kv.ErrRequest},
		{"a proxy", 403, "text/html", "<h1>forbidden for " + theirs + "</h1>", "", kv.ErrRequest},
		{"a proxy's login", 401, "text/html", "login", "", kv.ErrRequest},
		{"no leader", 500, "text/plain", "No cluster leader", "", kv.ErrUnreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, consul.Options{Token: token, Addr: serve(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Values("X-Consul-Token"); len(got) != 1 || got[0] != theirs {
					t.Errorf("the request has the tokens %q", got)
				}
				answer(test.status, test.kind, test.body)(w, r)
			}).URL})
			got, err := s.Denied(t.Context(), theirs, []string{"r"}, []string{"w"})
			if strings.Join(got, " ") != test.denied || !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("denied %q and %v, want %q and %v", got, err, test.denied, test.want)
			}
			if err != nil {
				checkOneKind(t, "Denied", err)
				if text := err.Error() + kv.Remedy(err); strings.Contains(text, theirs) {
					t.Errorf("the error shows the token: %s", text)
				}
			}
		})
	}
}
