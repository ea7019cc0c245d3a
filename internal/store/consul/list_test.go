package consul_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// listed answers as Consul does to a list.
func listed(index, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if index != "" {
			w.Header().Set("X-Consul-Index", index)
		}
		_, _ = io.WriteString(w, body) // the client may have left
	}
}

const goodRow = `{"Key":"kvexpress-nodes/a","Value":"eA==","Flags":3,"CreateIndex":4,"ModifyIndex":5}`

// List accepts only an answer that can come from Consul.
func TestListAnswers(t *testing.T) {
	deep := `[{"Key":"kvexpress-nodes/a","Value":` + strings.Repeat("[", 1<<20)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    error
		says    string
	}{
		"no index":         {listed("", "["+goodRow+"]"), kv.ErrNotStore, `the index ""`},
		"index 0":          {listed("0", "["+goodRow+"]"), kv.ErrNotStore, `the index "0"`},
		"a negative index": {listed("-1", "["+goodRow+"]"), kv.ErrNotStore, `the index "-1"`},
		"not a list":       {listed("7", `{"Key":"x"}`), kv.ErrNotStore, "not a list"},
		"another shape":    {listed("7", `["x"]`), kv.ErrNotStore, "not a list of rows"},
		"another prefix": {listed("7", strings.Replace("["+goodRow+"]", "kvexpress-nodes/a", "other", 1)), kv.ErrNotStore,
			`the list has "other"`},
		"a row without index": {listed("7", `[{"Key":"kvexpress-nodes/a"}]`), kv.ErrNotStore, "has no index"},
		"the token":           {listed("7", `[{"Key":"`+token+`"}]`), kv.ErrNotStore, "(secret)"},
		"cut JSON":            {listed("7", "["+goodRow+`,{"Key":"kv`), kv.ErrUnreachable, "broke off"},
		"cut between rows":    {listed("7", "["+goodRow), kv.ErrNotStore, "not a list of rows"},
		"deep JSON":           {listed("7", deep), kv.ErrNotStore, "not a list of rows"},
		"captive portal":      {answer(200, "text/html", "<h1>Log in</h1>"), kv.ErrNotStore, "set Consul's"},
		"404 of a web server": {answer(404, "text/html", "not here"), kv.ErrNotStore, "404"},
		"403":                 {answer(403, "text/plain", "ACL not found "+token), kv.ErrDenied, "ACL not found (secret)"},
		"429":                 {answer(429, "text/plain", "too many"), kv.ErrUnreachable, "too many"},
		"500":                 {answer(500, "text/plain", "internal "+token), kv.ErrUnreachable, "internal (secret)"},
		"connection closed":   {hangUp, kv.ErrUnreachable, "EOF"},
		"more than is read":   {tooMany, kv.ErrTooLarge, "more than 128 MiB"},
		"a server without head": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Consul-KnownLeader", "false")
			listed("7", "[]")(w, r)
		}, kv.ErrUnreachable, "knows no leader"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, consul.Options{Addr: serve(t, c.handler).URL, Token: token, Timeout: time.Minute})
			all, err := s.List(t.Context(), kv.Default, "kvexpress-nodes/", 0, 0)
			checkError(t, "List", err, c.kind)
			if err != nil && !strings.Contains(told(err), c.says) {
				t.Errorf("it says %q, want %q in it", err, c.says)
			}
			if len(all.Rows) > 0 {
				t.Errorf("rows beside an error: %+v", all.Rows)
			}
		})
	}
}

// tooMany sends rows until the client has had enough.
func tooMany(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Consul-Index", "7")
	row := `{"Key":"kvexpress-nodes/a","Value":"` + strings.Repeat("eHh4", 64<<10) + `","CreateIndex":4,"ModifyIndex":5},`
	_, err := io.WriteString(w, "[")
	for sent := 0; err == nil && sent < 2*kv.MaxListing; sent += len(row) {
		_, err = io.WriteString(w, row)
	}
}

// The requests of List, and the rows of a good answer.
func TestListRequest(t *testing.T) {
	var asked string
	s := open(t, consul.Options{Token: token, Addr: serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
		listed("9", "["+goodRow+"]")(w, r)
	}).URL})
	for want, ask := range map[string]func() (kv.Listing, error){
		"/v1/kv/kvexpress-nodes/?recurse=":                          func() (kv.Listing, error) { return s.List(t.Context(), kv.Default, "kvexpress-nodes/", 0, time.Hour) },
		"/v1/kv/kvexpress-nodes/?index=8&recurse=&wait=1m0s":        func() (kv.Listing, error) { return s.List(t.Context(), kv.Default, "kvexpress-nodes/", 8, time.Hour) },
		"/v1/kv/kvexpress-nodes/?consistent=&recurse=":              func() (kv.Listing, error) { return s.List(t.Context(), kv.Consistent, "kvexpress-nodes/", 0, 0) },
		"/v1/kv/kvexpress-nodes/?index=8&recurse=&stale=&wait=10ms": func() (kv.Listing, error) { return s.List(t.Context(), kv.Stale, "kvexpress-nodes/", 8, 0) },
	} {
		all, err := ask()
		if err != nil || asked != want {
			t.Errorf("it asked %s, want %s; %v", asked, want, err)
		}
		if got := fmt.Sprintf("%+v", all); got != "{Rows:[{Path:kvexpress-nodes/a Entry:{State:2 Value:[120] Flags:3 Index:5}}] "+
			"Index:9 Filtered:true}" {
			t.Errorf("the listing is %s", got)
		}
	}
}
