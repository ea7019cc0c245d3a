// Package local is a kv.Store inside the process, in memory, with Consul's
// semantics and limits. It is for tests and demos, and the beginning of the
// embedded engine. Of this module it imports kv alone.
package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// Store is a kv.Store in memory.
type Store struct {
	deny func(path string, write bool) bool

	mu    sync.RWMutex
	index uint64 // of the last change
	rows  map[string]kv.Entry
	bells map[string]*bell // by path; only those that somebody waits for

	graves  map[string]uint64 // by path, when it was deleted last
	changed chan struct{}     // closed by the next change of any row
}

var _ kv.Store = (*Store)(nil)

// Option changes a Store that New makes.
type Option func(*Store)

// Deny makes the store refuse what rule says, as a token without rights would
// be refused: a path that may not be read is left out of answers, and a
// transaction that writes one that may not be written fails. The rule may be
// called from several goroutines, and must not call the store.
func Deny(rule func(path string, write bool) bool) Option {
	return func(s *Store) { s.deny = rule }
}

// New makes an empty Store.
func New(options ...Option) *Store {
	s := &Store{
		deny: func(string, bool) bool { return false },
		// As in Consul, no entry has index 1: it is that of what never was, and
		// the first write must differ from it.
		index: 1,
		rows:  make(map[string]kv.Entry),
		bells: make(map[string]*bell),

		graves:  make(map[string]uint64),
		changed: make(chan struct{}),
	}
	for _, option := range options {
		option(s)
	}
	return s
}

// Read implements kv.Store.
func (s *Store) Read(ctx context.Context, _ kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if err := ended(ctx, "read"); err != nil {
		return nil, err
	}
	if len(paths) > kv.MaxOps {
		return nil, refuse("read", kv.ErrTooLarge, "%d paths, at most %d are allowed", len(paths), kv.MaxOps)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap := make(kv.Snapshot, len(paths))
	for _, path := range paths {
		if !valid(path) {
			return nil, refuse("read", kv.ErrRequest, "the path %s is not allowed", kv.Quote(path))
		}
		if s.deny(path, false) {
			continue
		}
		snap[path] = kv.Entry{State: kv.Absent}
		if row, ok := s.rows[path]; ok {
			row.Value = bytes.Clone(row.Value)
			snap[path] = row
		}
	}
	return snap, nil
}

// Keys implements kv.Store.
func (s *Store) Keys(ctx context.Context, prefix string) ([]string, error) {
	if err := ended(ctx, "list "+prefix); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var keys []string
	for path := range s.rows {
		if strings.HasPrefix(path, prefix) && !s.deny(path, false) {
			keys = append(keys, path)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// List implements kv.Store. As in Consul, the index of a list is the largest of its
// rows and of what was deleted below the prefix; that of an empty one is the store's.
func (s *Store) List(ctx context.Context, _ kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	what := "list " + prefix
	if err := ended(ctx, what); err != nil {
		return kv.Listing{}, err
	}
	if !valid(prefix) {
		return kv.Listing{}, refuse("list", kv.ErrRequest, "the path %s is not allowed", kv.Quote(prefix))
	}
	timer := time.NewTimer(min(max(wait, minWait), kv.MaxWait))
	defer timer.Stop()
	for {
		all, changed := s.below(prefix)
		if all.Index > since || since == 0 {
			return all, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			all, _ = s.below(prefix)
			return all, nil
		case <-ctx.Done():
			return kv.Listing{}, ended(ctx, what)
		}
	}
}

// below is all rows below a prefix, and what is closed by the next change of any row.
func (s *Store) below(prefix string) (kv.Listing, <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := kv.Listing{}
	for path, row := range s.rows {
		switch {
		case !strings.HasPrefix(path, prefix):
			continue
		case s.deny(path, false):
			all.Filtered = true
			continue
		}
		row.Value = bytes.Clone(row.Value)
		all.Rows = append(all.Rows, kv.Row{Path: path, Entry: row})
		all.Index = max(all.Index, row.Index)
	}
	for path, index := range s.graves {
		if strings.HasPrefix(path, prefix) {
			all.Index = max(all.Index, index)
		}
	}
	if all.Index == 0 {
		all.Index = s.index
	}
	slices.SortFunc(all.Rows, func(a, b kv.Row) int { return strings.Compare(a.Path, b.Path) })
	return all, s.changed
}

// Commit implements kv.Store.
func (s *Store) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if err := ended(ctx, "write"); err != nil {
		return nil, err
	}
	if err := withinLimits(ops); err != nil {
		return nil, err
	}
	for _, op := range ops { // before any check, as Consul does
		if s.deny(op.Path, op.Verb != kv.CheckIndex) {
			return nil, refuse("write "+op.Path, kv.ErrDenied, "a rule of this store forbids it")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	index := s.index + 1
	draft := make(map[string]kv.Entry, len(ops)) // the rows that ops name
	for _, op := range ops {
		if row, ok := s.rows[op.Path]; ok {
			draft[op.Path] = row
		}
	}
	written := make(map[string]uint64, len(ops))
	for _, op := range ops {
		if err := apply(draft, op, index); err != nil {
			return nil, err
		}
		switch op.Verb {
		case kv.Set, kv.CheckAndSet:
			written[op.Path] = draft[op.Path].Index
		case kv.Delete:
			delete(written, op.Path)
		}
	}
	for _, op := range ops {
		if s.rows[op.Path].Index != draft[op.Path].Index { // 0 where there is none
			s.index = index
			s.ring(op.Path)
			if draft[op.Path].Index == 0 {
				s.graves[op.Path] = index
			}
		}
	}
	if s.index == index {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	for _, op := range ops {
		delete(s.rows, op.Path)
	}
	maps.Copy(s.rows, draft)
	return written, nil
}

// apply does one step of a transaction. Each step sees those before it.
func apply(rows map[string]kv.Entry, op kv.Op, index uint64) error {
	conflict := func(why string) error { return refuse("write "+op.Path, kv.ErrConflict, "%s", why) }
	row, exists := rows[op.Path]
	switch op.Verb {
	case kv.CheckAbsent:
		if exists {
			return conflict("it exists")
		}
		return nil
	case kv.CheckIndex:
		if !exists || row.Index != op.Index {
			return conflict("its index is another one")
		}
		return nil
	case kv.Delete:
		delete(rows, op.Path)
		return nil
	case kv.CheckAndSet:
		if row.Index != op.Index { // both are 0 for what does not exist
			return conflict("its index is another one")
		}
	}
	if exists && row.Flags == op.Flags && bytes.Equal(row.Value, op.Value) {
		return nil // identical bytes are no change: the index stays
	}
	rows[op.Path] = kv.Entry{State: kv.Present, Value: bytes.Clone(op.Value), Flags: op.Flags, Index: index}
	return nil
}

// opOverhead is the JSON around path and value of one operation in a request
// to Consul, in bytes, rounded up.
const opOverhead = 128

func withinLimits(ops []kv.Op) error {
	if len(ops) > kv.MaxOps {
		return refuse("write", kv.ErrTooLarge, "%d operations, at most %d are allowed", len(ops), kv.MaxOps)
	}
	body := 0
	for _, op := range ops {
		if !valid(op.Path) || op.Verb < kv.Set || op.Verb > kv.Delete {
			return refuse("write", kv.ErrRequest, "verb %d on the path %s is not allowed", op.Verb, kv.Quote(op.Path))
		}
		body += opOverhead + len(op.Path) + base64.StdEncoding.EncodedLen(len(op.Value))
	}
	if body > kv.MaxTxnBody {
		return refuse("write", kv.ErrTooLarge, "the request has about %d bytes, at most %d are allowed", body, kv.MaxTxnBody)
	}
	return nil
}

// valid reports whether a path would arrive at Consul as it is.
func valid(path string) bool { return path != "" && utf8.ValidString(path) }

// ended is the error of a request whose context has ended before it began.
func ended(ctx context.Context, what string) error {
	if err := ctx.Err(); err != nil {
		return &kv.StoreError{Op: what, Kind: kv.ErrUnreachable, Cause: err}
	}
	return nil
}

func refuse(what string, kind error, format string, args ...any) error {
	return &kv.StoreError{Op: what, Kind: kind, Cause: fmt.Errorf(format, args...)}
}
