package consul

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"kvexpress/internal/kv"
)

var _ kv.Permissions = (*Store)(nil)

// impossibleIndex is the index of no row: the first entry of Consul's Raft log is its own.
const impossibleIndex = 1

// anonymous is Consul's own token for callers without one. Without any token, the Consul agent would use its default token, which
// is not the caller's.
const anonymous = "anonymous"

// Denied implements kv.Permissions with one transaction of checks, which needs the permissions and reads no value. If one is
// missing, Consul executes nothing, and names every denied operation.
func (s *Store) Denied(ctx context.Context, token string, reads, writes []string) ([]string, error) {
	token = cmp.Or(token, anonymous)
	paths, what, f, err := s.mayNot(ctx, token, reads, writes)
	if f != nil {
		err = s.notChecked(what, token, f)
	}
	return paths, err
}

// As is the same Consul with another token, for one caller of a hub; "" is a caller without one. The error is that the token
// cannot be sent.
func (s *Store) As(secret string) (kv.Store, error) {
	env := settings{}
	env.Token = cmp.Or(secret, anonymous)
	if _, err := chooseToken(env); err != nil {
		return nil, err
	}
	return &Store{target: s.target, env: s.env, query: s.query, header: s.header, token: &token{env: env, last: env.Token},
		timeout: s.timeout, transport: s.transport}, nil
}

// Missing returns the paths that the store's own token may not read or may not write, as Denied does for another token. Its
// errors are those of a Read.
func (s *Store) Missing(ctx context.Context, reads, writes []string) ([]string, error) {
	paths, what, f, err := s.mayNot(ctx, "", reads, writes)
	if f != nil {
		err = s.failed(what, false, f)
	}
	return paths, err
}

// mayNot checks a token; with "", the store's own. what names the check, and f is why it did not run.
func (s *Store) mayNot(ctx context.Context, token string, reads, writes []string) (
	denied []string, what string, f *failure, err error,
) {
	paths := slices.Concat(reads, writes)
	if len(paths) == 0 {
		return nil, "", nil, nil
	}
	what = describe("check the permissions on", paths[0], len(paths))
	if len(paths) > kv.MaxOps {
		return nil, what, nil, s.refuse(what, kv.ErrTooLarge, "%d paths, at most %d are allowed", len(paths), kv.MaxOps)
	}
	ops := make([]operation, len(paths))
	for i, path := range paths {
		if err := checkPath(path); err != nil {
			return nil, what, nil, s.refuse(what, kv.ErrRequest, "%w", err)
		}
		ops[i].KV = step{Verb: kv.CheckIndex, Key: path, Index: impossibleIndex}
		if i >= len(reads) {
			ops[i].KV = step{Verb: kv.CheckAbsent, Key: path}
		}
	}
	_, answer, f := s.txn(ctx, request{as: token}, ops, answerLimit(len(ops)))
	if f == nil {
		denied, err = s.denied(what, len(reads), ops, answer.Errors)
	}
	return denied, what, f, err
}

// denied returns the paths of the denied operations. Without one, each of the reads must have failed on its index: that proves
// that the token may read it. A write may have failed because the row exists.
func (s *Store) denied(what string, reads int, ops []operation, errs []stepError) (paths []string, err error) {
	proven := make(map[int]bool, reads)
	for _, e := range errs {
		read := e.OpIndex < reads
		switch {
		case e.OpIndex < 0 || e.OpIndex >= len(ops):
			return nil, s.refuse(what, kv.ErrNotStore, "the answer is about operation %d of %d", e.OpIndex, len(ops))
		case strings.Contains(e.What, "ermission denied"):
			paths = append(paths, ops[e.OpIndex].KV.Key)
		case read && strings.HasPrefix(e.What, "failed "):
			proven[e.OpIndex] = true
		case read || !strings.HasSuffix(e.What, " exists"):
			return nil, s.refuse(what, kv.ErrRequest, "%s", clean(e.What))
		}
	}
	if paths == nil && len(proven) < reads {
		return nil, s.refuse(what, kv.ErrNotStore, "the answer is about %d of %d reads", len(proven), reads)
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// notChecked is the error of a check that did not run. Only an unknown token is ErrDenied: the agent at Consul, or a proxy, may
// block the request, too. The token is not ours, so package safetext does not know it.
func (s *Store) notChecked(what, token string, f *failure) error {
	if len(token) >= 6 && strings.Contains(f.cause.Error(), token) {
		f.cause = &shownError{strings.ReplaceAll(f.cause.Error(), token, "(secret)"), f.cause}
	}
	answer, answered := errors.AsType[*answerError](f.cause)
	unknown := answered && answer.status == 403 && strings.Contains(strings.ToLower(answer.text), "acl not found")
	if errors.Is(f.kind, kv.ErrDenied) && !unknown {
		f.kind = kv.ErrRequest
	}
	err := s.failed(what, false, f)
	if e, ok := errors.AsType[*kv.StoreError](err); ok && unknown {
		e.Remedy = "use a token that this Consul has; this one has expired, was deleted, or belongs to another Consul"
	}
	return err
}
