package embedded

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// Store adapts an Engine to kv.Store and kv.Watcher, with the limits of Consul's API.
type Store struct {
	engine *Engine
	deny   Rule
	tokens func(token string) (Rule, bool)
}

var (
	_ kv.Store       = (*Store)(nil)
	_ kv.Watcher     = (*Store)(nil)
	_ kv.Pulser      = (*Store)(nil)
	_ kv.Clock       = (*Store)(nil)
	_ kv.Permissions = (*Store)(nil)
)

// Option configures a Store.
type Option func(*Store)

// Rule reports whether reading or writing a path is denied. It may be called concurrently, and must not call the store.
type Rule = func(path string, write bool) bool

// Deny makes the store behave as for a token without some permissions. A path that cannot be read is left out of answers; a
// transaction that writes a denied path fails.
func Deny(rule Rule) Option {
	return func(s *Store) { s.deny = rule }
}

// Tokens sets the rules of tokens for Denied: of returns the rule of a token ("": no token), or false for an unknown token. It
// may be called concurrently. Without this option, every token may do everything.
func Tokens(of func(token string) (Rule, bool)) Option {
	return func(s *Store) { s.tokens = of }
}

// New returns an empty Store in memory.
func New(options ...Option) *Store {
	e := &Engine{}
	e.state.Store(restore(&Saved{}))
	return e.Store(options...)
}

// Store returns the engine as a kv.Store. Tokens do not apply to it.
func (e *Engine) Store(options ...Option) *Store {
	allow := func(string, bool) bool { return false }
	s := &Store{engine: e, deny: allow, tokens: func(string) (Rule, bool) { return allow, true }}
	for _, option := range options {
		option(s)
	}
	return s
}

// As is the same store with the rights of a token; "" is a caller without one. The error is that the store does not know it.
func (s *Store) As(token string) (kv.Store, error) {
	deny, known := s.tokens(token)
	if !known {
		return nil, refuse("use a token", kv.ErrDenied, "the store does not know this token")
	}
	return &Store{engine: s.engine, deny: deny, tokens: s.tokens}, nil
}

// begun refuses a request whose context has ended, or on a path that would not reach Consul unchanged.
func begun(ctx context.Context, verb string, paths ...string) error {
	if err := ctx.Err(); err != nil {
		return &kv.StoreError{Op: verb, Kind: kv.ErrUnreachable, Cause: err}
	}
	for _, path := range paths {
		if path == "" || !utf8.ValidString(path) {
			return refuse(verb, kv.ErrRequest, "the path %s is not allowed", kv.Quote(path))
		}
	}
	return nil
}

// Denied implements kv.Permissions with the rules of Tokens.
func (s *Store) Denied(ctx context.Context, token string, reads, writes []string) ([]string, error) {
	const what = "check permissions"
	paths := slices.Concat(reads, writes)
	if err := begun(ctx, what, paths...); err != nil {
		return nil, err
	}
	if len(paths) > kv.MaxOps {
		return nil, refuse(what, kv.ErrTooLarge, "%d paths, at most %d are allowed", len(paths), kv.MaxOps)
	}
	deny, known := s.tokens(token)
	if !known {
		return nil, refuse(what, kv.ErrDenied, "the store does not know this token")
	}
	var denied []string
	for i, path := range paths {
		if deny(path, i >= len(reads)) {
			denied = append(denied, path)
		}
	}
	slices.Sort(denied)
	return slices.Compact(denied), nil
}

// Read implements kv.Store.
func (s *Store) Read(ctx context.Context, _ kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if err := begun(ctx, "read", paths...); err != nil {
		return nil, err
	}
	if len(paths) > kv.MaxOps {
		return nil, refuse("read", kv.ErrTooLarge, "%d paths, at most %d are allowed", len(paths), kv.MaxOps)
	}
	view := s.engine.View()
	snap := make(kv.Snapshot, len(paths))
	for _, path := range paths {
		if strings.HasSuffix(path, "/") {
			rows, _ := s.below(view, path)
			for _, row := range rows {
				snap[row.Path] = row.Entry
			}
		} else if !s.deny(path, false) {
			snap[path] = entry(view.Get(path))
		}
	}
	return snap, nil
}

// entry copies a row.
func entry(row *Row) kv.Entry {
	if row == nil {
		return kv.Entry{State: kv.Absent}
	}
	return kv.Entry{State: kv.Present, Value: bytes.Clone(row.Value), Flags: row.Flags, Index: row.ModifyIndex}
}

// Keys implements kv.Store.
func (s *Store) Keys(ctx context.Context, prefix string) ([]string, error) {
	if err := begun(ctx, "list "+prefix); err != nil {
		return nil, err
	}
	var keys []string
	for row := range s.engine.View().List(prefix) {
		if !s.deny(row.Path, false) {
			keys = append(keys, row.Path)
		}
	}
	return keys, nil
}

// Level implements kv.Store.
func (s *Store) Level(ctx context.Context, prefix string) ([]string, error) {
	keys, err := s.Keys(ctx, prefix)
	for i, key := range keys {
		if at := strings.IndexByte(key[len(prefix):], '/'); at >= 0 {
			keys[i] = key[:len(prefix)+at+1]
		}
	}
	return slices.Compact(keys), err
}

// Commit implements kv.Store.
func (s *Store) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if err := begun(ctx, "write"); err != nil {
		return nil, err
	}
	if err := withinLimits(ops); err != nil {
		return nil, err
	}
	copies := slices.Clone(ops)
	for i, op := range ops { // before any check, as Consul does
		if s.deny(op.Path, op.Verb != kv.CheckIndex) {
			return nil, refuse("write "+op.Path, kv.ErrDenied, "a rule of this store forbids it")
		}
		copies[i].Value = bytes.Clone(op.Value)
	}
	rows, failed, err := s.engine.Txn(ctx, copies)
	switch {
	case err != nil:
		return nil, notWritten("write", err)
	case len(failed) > 0:
		return nil, refuse("write "+ops[failed[0].OpIndex].Path, kv.ErrConflict, "%s", failed[0].What)
	}
	written := make(map[string]uint64, len(ops))
	for i, op := range ops {
		switch op.Verb {
		case kv.Set, kv.CheckAndSet:
			written[op.Path] = rows[i].ModifyIndex
		case kv.Delete:
			delete(written, op.Path)
		}
	}
	return written, nil
}

// Put implements kv.Store.
func (s *Store) Put(ctx context.Context, path string, value []byte, flags uint64) error {
	what := "write " + path
	if err := begun(ctx, what, path); err != nil {
		return err
	}
	switch {
	case len(value) > kv.MaxValue:
		return refuse(what, kv.ErrTooLarge, "the value has %d bytes, at most %d are allowed", len(value), kv.MaxValue)
	case s.deny(path, true):
		return refuse(what, kv.ErrDenied, "a rule of this store forbids it")
	}
	if _, _, err := s.engine.Txn(ctx, []kv.Op{{Verb: kv.Set, Path: path, Value: bytes.Clone(value), Flags: flags}}); err != nil {
		return notWritten(what, err)
	}
	return nil
}

// notWritten translates an error of the engine.
func notWritten(what string, err error) error {
	if errors.Is(err, ErrUnknown) {
		return &kv.StoreError{Op: what, Kind: kv.ErrUnknownOutcome, Cause: err}
	}
	return &kv.StoreError{Op: what, Kind: kv.ErrUnreachable, Cause: err}
}

// opSize is the size of the JSON around the path and the value of an operation, in bytes, rounded up.
const opSize = 128

func withinLimits(ops []kv.Op) error {
	if len(ops) > kv.MaxOps {
		return refuse("write", kv.ErrTooLarge, "%d operations, at most %d are allowed", len(ops), kv.MaxOps)
	}
	body := 0
	for _, op := range ops {
		if op.Path == "" || !utf8.ValidString(op.Path) || !op.Verb.Known() {
			return refuse("write", kv.ErrRequest, "verb %q on the path %s is not allowed", op.Verb, kv.Quote(op.Path))
		}
		body += opSize + len(op.Path) + base64.StdEncoding.EncodedLen(len(op.Value))
	}
	if body > kv.MaxTxnBody {
		return refuse("write", kv.ErrTooLarge, "the request has about %d bytes, at most %d are allowed", body, kv.MaxTxnBody)
	}
	return nil
}

func refuse(what string, kind error, format string, args ...any) error {
	return &kv.StoreError{Op: what, Kind: kind, Cause: fmt.Errorf(format, args...)}
}

// Offset implements kv.Clock. The store uses this machine's clock.
func (s *Store) Offset() (time.Duration, bool) { return 0, true }
