package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

const hosts = kv.Key("hosts")

func layout(t testing.TB, prefix string) kv.Layout {
	t.Helper()
	l, err := kv.NewLayout(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// publisher is a Publisher without pauses.
func publisher(t testing.TB, s kv.Store) *Publisher {
	return &Publisher{
		Store: s, Layout: layout(t, "kvexpress"), By: "ann@build",
		Now:  func() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) },
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// do publishes text as hosts, and wants success.
func do(t testing.TB, p *Publisher, text string) Result {
	t.Helper()
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte(text)})
	if err != nil {
		t.Fatalf("publish %.20q: %v", text, err)
	}
	return res
}

func put(t testing.TB, s kv.Store, path, value string, flags uint64) {
	t.Helper()
	if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value), Flags: flags}}); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, s kv.Store, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Delete, Path: path}}); err != nil {
			t.Fatal(err)
		}
	}
}

func get1(t testing.TB, s kv.Store, path string) kv.Entry {
	t.Helper()
	rows, err := s.Read(t.Context(), kv.Consistent, path)
	if err != nil {
		t.Fatal(err)
	}
	return rows[path]
}

// oldWrite writes as kvexpress 1.x does: data, then checksum.
func oldWrite(t testing.TB, s kv.Store, l kv.Layout, k kv.Key, text string) {
	t.Helper()
	put(t, s, l.Data(k), text, 0)
	put(t, s, l.Checksum(k), record.Checksum([]byte(text)), 0)
}

// noise is n bytes that no codec makes smaller.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	_, _ = r.Read(b) // never fails
	return b
}

// mustBeLive checks all that a successful publish promises about the store.
func mustBeLive(t testing.TB, s kv.Store, l kv.Layout, k kv.Key, res Result, content []byte) {
	t.Helper()
	if err := checkLive(t.Context(), s, l, k, res, content); err != nil {
		t.Fatal(err)
	}
}

func checkLive(ctx context.Context, s kv.Store, l kv.Layout, k kv.Key, res Result, content []byte) error {
	past, pastData := l.HistoryManifest(k, res.Version), l.HistoryData(k, res.Version)
	rows, err := s.Read(ctx, kv.Consistent, l.Data(k), l.Checksum(k), l.Manifest(k), past, pastData)
	if err != nil {
		return err
	}
	at, err := record.Verify(k, rows[l.Data(k)], rows[l.Checksum(k)], rows[l.Manifest(k)])
	switch {
	case err != nil:
		return err
	case at.State != record.Managed || !bytes.Equal(at.Plain, content):
		return fmt.Errorf("state %s (%s), want managed with the content", at.State, at.Why)
	case at.Manifest.Version != res.Version || at.Manifest.Lineage != res.Lineage || at.Manifest.Key != k:
		return fmt.Errorf("manifest is of %s %d, the result says %s %d", at.Manifest.Lineage, at.Manifest.Version, res.Lineage,
			res.Version)
	case !bytes.Equal(rows[past].Value, rows[l.Manifest(k)].Value):
		return errors.New("the manifest in history is another one")
	}
	e, err := record.FromFlags(rows[pastData].Flags)
	if err != nil {
		return err
	}
	plain, err := record.Decode(e, rows[pastData].Value)
	if err != nil || !bytes.Equal(plain, content) {
		return errors.Join(errors.New("the bytes in history are other ones"), err)
	}
	return nil
}

// pastVersions lists the versions in history.
func pastVersions(t testing.TB, s kv.Store, l kv.Layout, k kv.Key) map[uint64]kv.Manifest {
	t.Helper()
	paths, err := s.Keys(t.Context(), l.HistoryDir(k))
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]kv.Manifest{}
	for _, path := range paths {
		if v, row, ok := l.HistoryVersion(k, path); ok && row == "manifest" {
			if all[v], err = kv.ParseManifest(get1(t, s, path).Value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// probe is a Store that counts commits, checks their size as JSON, and lets a
// test come before and after each; but for the one that hurries.
type probe struct {
	kv.Store
	before func(n int, ops []kv.Op) ([]kv.Op, error) // nil ops: not applied
	after  func(n int, ops []kv.Op, err error) error
	read   func(c kv.Consistency, paths []string) error

	mu      sync.Mutex
	commits int
	largest int
}

func (s *probe) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if s.read != nil {
		if err := s.read(c, paths); err != nil {
			return nil, err
		}
	}
	return s.Store.Read(ctx, c, paths...)
}

func (s *probe) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if hurries(ops) {
		return s.Store.Commit(ctx, ops)
	}
	s.mu.Lock()
	s.commits++
	n := s.commits
	s.largest = max(s.largest, wireSize(ops))
	s.mu.Unlock()
	if s.before != nil {
		changed, err := s.before(n, ops)
		if err != nil {
			return nil, err
		}
		ops = changed
	}
	written, err := s.Store.Commit(ctx, ops)
	if s.after != nil {
		if err := s.after(n, ops, err); err != nil {
			return nil, err
		}
	}
	return written, err
}

// hurries tells the write that follows a promote.
func hurries(ops []kv.Op) bool {
	return len(ops) == 1 && ops[0].Verb == kv.CheckAndSet && strings.HasSuffix(ops[0].Path, "/checksum")
}

// wireSize is the size of ops as Consul's client sends them.
func wireSize(ops []kv.Op) int {
	type row struct {
		Verb, Key    string
		Value        []byte
		Flags, Index uint64
		Session      string
	}
	type wire struct {
		KV                   *row
		Node, Service, Check *int
	}
	verbs := map[kv.Verb]string{kv.Set: "set", kv.CheckAndSet: "cas", kv.CheckIndex: "check-index",
		kv.CheckAbsent: "check-not-exists", kv.Delete: "delete"}
	var body []wire
	for _, op := range ops {
		index := op.Index
		if index != 0 {
			index = 1 << 40 // as of a store that is in use for years
		}
		body = append(body, wire{KV: &row{Verb: verbs[op.Verb], Key: op.Path, Value: op.Value, Flags: op.Flags, Index: index}})
	}
	b, err := json.Marshal(body)
	if err != nil {
		return 1 << 30
	}
	return len(b) + 1
}

var (
	errUnknown     = &kv.StoreError{Op: "write", Kind: kv.ErrUnknownOutcome}
	errUnreachable = &kv.StoreError{Op: "read", Kind: kv.ErrUnreachable}
)

func newStore() *embedded.Store { return embedded.New() }

func hasNote(res Result, part string) bool {
	return strings.Contains(strings.Join(res.Notes, "\n"), part)
}
