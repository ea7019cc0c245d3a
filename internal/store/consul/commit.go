package consul

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"kvexpress/internal/kv"
)

// Commit implements kv.Store.
func (s *Store) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if len(ops) == 0 {
		return map[string]uint64{}, nil
	}
	what := describe("write", ops[0].Path, len(ops))
	if len(ops) > kv.MaxOps {
		return nil, s.refuse(what, kv.ErrTooLarge, "%d operations, at most %d are allowed", len(ops), kv.MaxOps)
	}
	steps := make([]operation, len(ops))
	for i, op := range ops {
		if !op.Verb.Known() {
			return nil, s.refuse(what, kv.ErrRequest, "operation %d of %d has no verb", i+1, len(ops))
		}
		if err := checkPath(op.Path); err != nil {
			return nil, s.refuse(what, kv.ErrRequest, "%w", err)
		}
		steps[i].KV = step{Verb: op.Verb, Key: op.Path, Value: op.Value, Flags: op.Flags, Index: op.Index}
	}
	// Consul answers a transaction without writes as a read, which must not be stale.
	ok, answer, f := s.txn(ctx, request{query: url.Values{"consistent": {""}}}, steps, answerLimit(len(steps)))
	if f != nil {
		return nil, s.failed(what, true, f)
	}
	if !ok {
		return nil, s.rolledBack("write", steps, answer.Errors, kv.ErrConflict)
	}
	return s.written(what, ops, answer)
}

// written collects the new index of each written path. Consul returns all of them; an answer without one proves nothing.
func (s *Store) written(what string, ops []kv.Op, answer result) (map[string]uint64, error) {
	echoed := make(map[string]uint64, len(answer.Results))
	for _, r := range answer.Results {
		if r.KV != nil {
			echoed[r.KV.Key] = r.KV.ModifyIndex // of several, the last counts
		}
	}
	indexes := make(map[string]uint64, len(ops))
	for _, op := range ops {
		switch op.Verb {
		case kv.Set, kv.CheckAndSet:
			index := echoed[op.Path]
			if index == 0 {
				return nil, s.refuse(what, kv.ErrUnknownOutcome, "the answer does not name %s as written", op.Path)
			}
			indexes[op.Path] = index
		case kv.Delete:
			delete(indexes, op.Path)
		}
	}
	return indexes, nil
}

// Put implements kv.Store. The value is the body of the request, so it may be as large as Consul allows. Consul cleans the path:
// no part between slashes may be empty, "." or "..".
func (s *Store) Put(ctx context.Context, path string, value []byte, flags uint64) error {
	what := describe("write", path, 1)
	if err := checkPath(path); err != nil {
		return s.refuse("write", kv.ErrRequest, "%w", err)
	}
	if len(value) > kv.MaxValue {
		return s.refuse(what, kv.ErrTooLarge, "the value has %d bytes, at most %d are allowed", len(value), kv.MaxValue)
	}
	query := url.Values{"flags": {strconv.FormatUint(flags, 10)}}
	_, answer, f := s.ask(ctx, request{method: http.MethodPut, path: "/v1/kv/" + path, query: query, body: value}, maxErrorBody)
	if f == nil && string(bytes.TrimSpace(answer)) != "true" {
		f = garbage("the answer is %q instead of true", clean(string(answer)))
	}
	if f != nil {
		return s.failed(what, true, f)
	}
	return nil
}
