package consul_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// Rows are matched by key. A row that is missing in the answer is neither absent nor present.
func TestRowsOfARead(t *testing.T) {
	const row = `{"KV":{"Key":"` + readPath + `","Value":"eA==","Flags":2,"CreateIndex":7,"ModifyIndex":9}}`
	tests := []struct {
		name string
		rows string
		want kv.Entry
	}{
		{"the row", `[` + row + `]`, kv.Entry{State: kv.Present, Value: []byte("x"), Flags: 2, Index: 9}},
		{"the row among others", `[null, {"KV":null}, {"KV":{"Key":"other","CreateIndex":1}}, ` + row + `]`,
			kv.Entry{State: kv.Present, Value: []byte("x"), Flags: 2, Index: 9}},
		{"absent", `[{"KV":{"Key":"` + readPath + `","CreateIndex":0,"ModifyIndex":0}}]`, kv.Entry{State: kv.Absent}},
		{"no rows", `[]`, kv.Entry{}},
		{"null", `null`, kv.Entry{}},
		{"another row in its place", `[{"KV":{"Key":"other","CreateIndex":1}}]`, kv.Entry{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, consul.Options{Addr: serve(t, answer(200, "application/json", `{"Results":`+test.rows+`}`)).URL})
			snap, err := s.Read(t.Context(), kv.Default, readPath)
			if err != nil {
				t.Fatal(err)
			}
			got := snap[readPath]
			if got.State != test.want.State || string(got.Value) != string(test.want.Value) ||
				got.Flags != test.want.Flags || got.Index != test.want.Index {
				t.Errorf("the entry is %+v, want %+v", got, test.want)
			}
			if _, ok := snap["other"]; ok {
				t.Error("the snapshot holds a row that was not requested")
			}
		})
	}
}

func TestRolledBack(t *testing.T) {
	const denied = `Permission denied: token with AccessorID 'a' lacks permission 'key:write' on \"b\"`
	ops := []kv.Op{{Verb: kv.Set, Path: "first"}, {Verb: kv.CheckAbsent, Path: "second"}, {Verb: kv.Set, Path: "third"}}
	tests := []struct {
		name string
		errs string
		want error
		says string // the path and the words
	}{
		{"conflict", `[{"OpIndex":1,"What":"key \"second\" exists"}]`, kv.ErrConflict, `write second at`},
		{"denied", `[{"OpIndex":2,"What":"` + denied + `"}]`, kv.ErrDenied, `write third at`},
		{"both", `[{"OpIndex":0,"What":"index is stale"},{"OpIndex":2,"What":"` + denied + `"}]`, kv.ErrDenied, `write third at`},
		{"an old Consul", `[{"OpIndex":0,"What":"unknown KV operation: x"}]`, kv.ErrRequest, `1.14`},
		{"the token in it", `[{"OpIndex":0,"What":"` + token + `\nstale"}]`, kv.ErrConflict, `(secret)\nstale`},
		{"no reason", `null`, kv.ErrNotStore, "set Consul's"},
		{"empty reason", `[null]`, kv.ErrNotStore, "set Consul's"},
		{"impossible operation", `[{"OpIndex":3,"What":"x"},{"OpIndex":-1,"What":"x"}]`, kv.ErrNotStore, "set Consul's"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body := `{"Results":null,"Errors":` + test.errs + `}`
			s := open(t, consul.Options{Token: token, Addr: serve(t, answer(409, "application/json; charset=utf-8", body)).URL})
			_, err := s.Commit(t.Context(), ops)
			checkError(t, "Commit", err, test.want)
			if err != nil && !strings.Contains(told(err), test.says) {
				t.Errorf("Commit says %q, want %q in it", err, test.says)
			}
			if _, err := s.Read(t.Context(), kv.Default, "a", "b", "c"); errors.Is(err, kv.ErrConflict) || err == nil {
				t.Errorf("Read gives %v, want an error that is no conflict", err)
			}
		})
	}
}

// A success that does not name the written row proves nothing.
func TestCommitWithoutEcho(t *testing.T) {
	for _, rows := range []string{`[]`, `null`, `[null]`, `[{"KV":{"Key":"other","ModifyIndex":3}}]`, `[{"KV":{"Key":"` +
		writePath + `"}}]`} {
		s := open(t, consul.Options{Addr: serve(t, answer(200, "application/json", `{"Results":`+rows+`}`)).URL})
		_, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: writePath}})
		checkError(t, "Commit with rows "+rows, err, kv.ErrUnknownOutcome)
	}
	s := open(t, consul.Options{Addr: serve(t, answer(200, "application/json", `{"ok":true}`)).URL})
	_, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Delete, Path: writePath}})
	checkError(t, "Delete answered by another JSON", err, kv.ErrUnknownOutcome)
}

// Consul's 404 means an empty list, and nothing else.
func TestNotFound(t *testing.T) {
	s := open(t, consul.Options{Addr: serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "7")
		answer(404, "application/json", `{"Results":null,"Errors":[{"OpIndex":0,"What":"key exists"}]}`)(w, r)
	}).URL})
	for name, err := range requests(t.Context(), s) {
		switch name {
		case "Read":
			checkError(t, name, err, kv.ErrNotStore)
		case "Commit":
			checkError(t, name, err, kv.ErrUnknownOutcome)
		case "Keys":
			if err != nil {
				t.Errorf("Keys gives %v, want an empty list", err)
			}
		}
	}
}

func TestKeysOfAnotherPrefix(t *testing.T) {
	s := open(t, consul.Options{Addr: serve(t, answer(200, "application/json", `["kvexpress/a", "other/b"]`)).URL})
	_, err := s.Keys(t.Context(), "kvexpress/")
	checkError(t, "Keys", err, kv.ErrNotStore)
}

// The parameters of the requests.
func TestQuery(t *testing.T) {
	var asked url.Values
	var path string
	withoutEnvironment(t)
	t.Setenv("CONSUL_NAMESPACE", "team")
	t.Setenv("CONSUL_PARTITION", "part")
	s, err := consul.New(consul.Options{Datacenter: "east", Addr: serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked, path = r.URL.Query(), r.URL.Path
		answer(200, "application/json", `{"Results":[{"KV":{"Key":"`+writePath+`","ModifyIndex":3}}]}`)(w, r)
	}).URL + "/behind/"})
	if err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[kv.Consistency]string{kv.Default: "dc", kv.Stale: "dc stale", kv.Consistent: "consistent dc"} {
		if _, err := s.Read(t.Context(), mode, readPath); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range []string{"consistent", "dc", "stale"} {
			if asked.Has(name) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want || asked.Get("dc") != "east" {
			t.Errorf("mode %d asks with %v, want %s", mode, asked, want)
		}
	}
	if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: writePath}}); err != nil {
		t.Fatal(err)
	}
	if asked.Get("ns") != "team" || asked.Get("partition") != "part" {
		t.Errorf("a commit asks with %v, want namespace and partition of the environment", asked)
	}
	if asked.Get("dc") != "east" || path != "/behind/v1/txn" {
		t.Errorf("a commit asks %s with %v, want /behind/v1/txn with dc east", path, asked)
	}
}
