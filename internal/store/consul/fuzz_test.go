package consul_test

import (
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// Any answer, with any status: no panic, no row that was not requested, no commit without its echo, and errors of one kind, fit to show
// and without the token.
func FuzzAnswer(f *testing.F) {
	const row = `{"Results":[{"KV":{"Key":"` + readPath + `","Value":"eA==","CreateIndex":7,"ModifyIndex":9}}]}`
	f.Add(200, "application/json", row)
	f.Add(200, "application/json; charset=utf-8", strings.ReplaceAll(row, readPath, writePath))
	f.Add(200, "application/json", `["kvexpress/a"]`)
	f.Add(200, "application/json", `{"Results":[null,{"KV":null}],"Errors":[null]}`)
	f.Add(409, "application/json", `{"Results":null,"Errors":[{"OpIndex":0,"What":"Permission denied"}]}`)
	f.Add(409, "application/json", `{"Results":null,"Errors":[{"OpIndex":-1,"What":"`+token+`"}]}`)
	for _, list := range []string{"[" + goodRow + "]", "[" + goodRow + "," + goodRow, `[{"Key":null,"Value":7}]`, `[null]`, `{"Key":"x"}`} {
		f.Add(200, "application/json", list)
	}
	f.Add(200, "text/html", "<h1>"+token+"</h1>")
	f.Add(404, "text/"+token, "")
	f.Add(500, "text/plain", "No cluster leader")
	f.Add(403, "", "\x1b[31m\x00\xff"+token)

	var handler http.HandlerFunc
	server := serve(f, func(w http.ResponseWriter, r *http.Request) { handler(w, r) })
	s := open(f, consul.Options{Addr: server.URL, Token: token})
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		handler = answer(200+int(uint(status-200)%400), contentType, body)

		snap, err := s.Read(t.Context(), kv.Default, readPath)
		if err != nil {
			checkOneKind(t, "Read", err)
		}
		if _, ok := snap[readPath]; len(snap) > 1 || len(snap) == 1 && !ok {
			t.Errorf("Read returns %v, want at most the requested row", snap)
		}
		keys, err := s.Keys(t.Context(), "kvexpress/")
		if err != nil {
			checkOneKind(t, "Keys", err)
		}
		for _, key := range keys {
			if !strings.HasPrefix(key, "kvexpress/") {
				t.Errorf("Keys returns %q", key)
			}
		}
		indexes, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: writePath}})
		if err != nil {
			checkOneKind(t, "Commit", err)
		} else if indexes[writePath] == 0 {
			t.Errorf("Commit returns %v, want the index of the row", indexes)
		}
		handler = listed("7", body)
		all, err := s.List(t.Context(), kv.Default, "kvexpress-nodes/", 0, 0)
		if err != nil {
			checkOneKind(t, "List", err)
		}
		for _, row := range all.Rows {
			if err != nil || !strings.HasPrefix(row.Path, "kvexpress-nodes/") || row.Index == 0 || row.State != kv.Present {
				t.Errorf("List returns %+v, beside %v", row, err)
			}
		}
	})
}
