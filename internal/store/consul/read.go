package consul

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"kvexpress/internal/kv"
)

// Read implements kv.Store.
func (s *Store) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	snap := make(kv.Snapshot, len(paths))
	if len(paths) == 0 {
		return snap, nil
	}
	what := describe("read", paths[0], len(paths))
	if len(paths) > kv.MaxOps {
		return nil, s.refuse(what, kv.ErrTooLarge, "%d paths, at most %d are allowed", len(paths), kv.MaxOps)
	}
	ops := make([]operation, len(paths))
	var trees []string
	for i, path := range paths {
		if err := checkPath(path); err != nil {
			return nil, s.refuse(what, kv.ErrRequest, "%w", err)
		}
		// A plain get would fail the whole transaction if one path is absent.
		ops[i].KV = step{Verb: "get-or-empty", Key: path}
		if strings.HasSuffix(path, "/") {
			ops[i].KV.Verb = "get-tree"
			trees = append(trees, path)
		}
	}
	query, limit := url.Values{}, answerLimit(len(ops))
	setConsistency(query, c)
	if trees != nil {
		limit = kv.MaxListing
	}
	ok, answer, f := s.txn(ctx, request{query: query}, ops, limit)
	switch {
	case f != nil && trees != nil && errors.Is(f.cause, kv.ErrLongAnswer):
		return nil, s.refuse(what, kv.ErrTooLarge, "the rows have more than %d MiB", kv.MaxListing>>20)
	case f != nil:
		return nil, s.failed(what, false, f)
	}
	if !ok {
		return nil, s.rolledBack("read", ops, answer.Errors, kv.ErrRequest)
	}
	// Rows are matched by key. Consul leaves out rows that the token may not read, so positions shift.
	for _, r := range answer.Results {
		if r.KV != nil && (within(trees, r.KV.Key) || slices.Contains(paths, r.KV.Key)) {
			snap[r.KV.Key] = entry(r.KV)
		}
	}
	return snap, nil
}

// within reports whether one of the trees has the path.
func within(trees []string, path string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return strings.HasPrefix(path, tree) })
}

func entry(r *row) kv.Entry {
	if r.CreateIndex == 0 {
		return kv.Entry{State: kv.Absent}
	}
	return kv.Entry{State: kv.Present, Value: r.Value, Flags: r.Flags, Index: r.ModifyIndex}
}

// Keys implements kv.Store.
func (s *Store) Keys(ctx context.Context, prefix string) ([]string, error) {
	return s.keys(ctx, prefix, url.Values{"keys": {""}})
}

// Level implements kv.Store.
func (s *Store) Level(ctx context.Context, prefix string) ([]string, error) {
	return s.keys(ctx, prefix, url.Values{"keys": {""}, "separator": {"/"}})
}

func (s *Store) keys(ctx context.Context, prefix string, query url.Values) ([]string, error) {
	what := describe("list", prefix, 1)
	status, got, f := s.ask(ctx, request{method: http.MethodGet, path: "/v1/kv/" + prefix, query: query}, kv.MaxNames)
	if f != nil {
		if query.Has("separator") && errors.Is(f.cause, kv.ErrLongAnswer) {
			f.kind, f.cause = kv.ErrTooLarge, kv.ErrLongAnswer
		}
		return nil, s.failed(what, false, f)
	}
	if status == http.StatusNotFound {
		return nil, nil
	}
	var keys []string
	if err := json.Unmarshal(got, &keys); err != nil || status != http.StatusOK {
		return nil, s.failed(what, false, garbage("status %d, and not a list of keys", status))
	}
	stray := func(key string) bool { return !strings.HasPrefix(key, prefix) }
	if i := slices.IndexFunc(keys, stray); i >= 0 {
		return nil, s.failed(what, false, garbage("the list has %s", clean(keys[i])))
	}
	slices.Sort(keys)
	return keys, nil
}
