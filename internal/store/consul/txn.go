package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// operation is one step of a transaction, as Consul's /v1/txn takes it.
type operation struct {
	KV step
}

type step struct {
	Verb  kv.Verb
	Key   string
	Value []byte `json:",omitempty"`
	Flags uint64 `json:",omitempty"`
	Index uint64 `json:",omitempty"`
}

// result is Consul's answer to a transaction: rows, or errors if it was rolled back (status 409).
type result struct {
	Results []struct{ KV *row }
	Errors  []stepError
}

type row struct {
	Key         string
	Value       []byte
	Flags       uint64
	CreateIndex uint64 // 0: there is no such entry
	ModifyIndex uint64
}

type stepError struct {
	OpIndex int
	What    string
}

// txn sends one transaction, with the query and the token of r, and an answer of at most limit bytes. The first result is false
// if it was rolled back.
func (s *Store) txn(ctx context.Context, r request, ops []operation, limit int64) (bool, result, *failure) {
	var answer result
	body, err := json.Marshal(ops)
	if err != nil {
		return false, answer, &failure{kind: kv.ErrRequest, cause: err}
	}
	r.method, r.path, r.body = http.MethodPut, "/v1/txn", body
	status, got, f := s.ask(ctx, r, limit)
	switch {
	case f != nil:
		return false, answer, f
	case status == http.StatusNotFound, !bytes.Contains(got, []byte(`"Results"`)):
		// Any other JSON object would decode into a transaction without rows.
		return false, answer, garbage("status %d, and not an answer to a transaction", status)
	}
	if err := json.Unmarshal(got, &answer); err != nil {
		return false, answer, garbage("the answer cannot be decoded: %s", clean(err.Error()))
	}
	return status == http.StatusOK, answer, nil
}

// rolledBack explains a status 409. Consul sends it for a failed check and for a missing permission; only its words differ.
func (s *Store) rolledBack(verb string, ops []operation, errs []stepError, kind error) error {
	failed := -1
	var said string
	for _, e := range errs {
		if e.OpIndex < 0 || e.OpIndex >= len(ops) || e.What == "" {
			continue
		}
		if failed < 0 {
			failed, said = e.OpIndex, e.What
		}
		if strings.Contains(e.What, "ermission denied") {
			failed, said, kind = e.OpIndex, e.What, kv.ErrDenied
			break
		}
	}
	if failed < 0 {
		return s.refuse(describe(verb, ops[0].KV.Key, len(ops)), kv.ErrNotStore, "status 409 without an operation that failed")
	}
	if strings.HasPrefix(said, "unknown KV operation") {
		kind, said = kv.ErrRequest, said+"; Consul 1.14 or newer is needed"
	}
	return s.refuse(describe(verb, ops[failed].KV.Key, 1), kind, "%s", clean(said))
}

// checkPath refuses a path that would not reach Consul unchanged.
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("a path is empty")
	case !utf8.ValidString(path):
		return fmt.Errorf("the path %s is not UTF-8", kv.Quote(path))
	}
	return nil
}
