package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/kv"
)

func testReadStates(t *testing.T, b bench) {
	full, empty, missing := b.path("full"), b.path("empty"), b.path("missing")
	index := b.set(full, "x")
	b.set(empty, "")

	snap, err := b.store.Read(t.Context(), kv.Default, missing, full, empty)
	if err != nil {
		t.Fatal(err)
	}
	if len(snap) != 3 {
		t.Errorf("the snapshot has %d rows, want 3", len(snap))
	}
	if e := snap[full]; e.State != kv.Present || string(e.Value) != "x" || e.Index != index {
		t.Errorf("the full entry is %+v, want x at index %d", e, index)
	}
	if e := snap[empty]; e.State != kv.Present || len(e.Value) != 0 || e.Index == 0 {
		t.Errorf("the empty entry is %+v, want present, no value, an index", e)
	}
	if e := snap[missing]; e.State != kv.Absent || len(e.Value) != 0 || e.Index != 0 {
		t.Errorf("the missing entry is %+v, want absent", e)
	}
	if e := snap[b.path("never asked for")]; e.State != kv.Denied {
		t.Errorf("an entry that was not asked for has state %d, want denied", e.State)
	}

	if snap, err := b.store.Read(t.Context(), kv.Default); err != nil || len(snap) != 0 {
		t.Errorf("reading nothing gives %v and %v, want an empty snapshot", snap, err)
	}
}

func testValues(t *testing.T, b bench) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	tests := []struct {
		name  string
		value []byte
		flags uint64
	}{
		{"empty", nil, 0},
		{"text", []byte("a line\n"), 0},
		{"every byte", every, 1},
		{"markup and quotes", []byte(`<b>"&'\u0000` + "\u2028"), 2},
		{"not UTF-8", []byte{0xff, 0xfe, 0xc0}, 3},
		{"highest flags", []byte("x"), 1<<64 - 1},
	}
	for i, test := range tests {
		path := b.path(fmt.Sprintf("value-%d", i))
		b.commit(kv.Op{Verb: kv.Set, Path: path, Value: test.value, Flags: test.flags})
		b.wants(path, string(test.value))
		if got := b.read(path).Flags; got != test.flags {
			t.Errorf("%s: flags are %d, want %d", test.name, got, test.flags)
		}
	}
}

func testReadLimit(t *testing.T, b bench) {
	paths := make([]string, kv.MaxOps+1)
	for i := range paths {
		paths[i] = b.path(fmt.Sprintf("row-%02d", i))
	}
	b.set(paths[0], "first")
	b.set(paths[kv.MaxOps-1], "last")

	snap, err := b.store.Read(t.Context(), kv.Default, paths[:kv.MaxOps]...)
	if err != nil {
		t.Fatalf("reading %d paths: %v", kv.MaxOps, err)
	}
	for i, path := range paths[:kv.MaxOps] {
		want := kv.Absent
		if i == 0 || i == kv.MaxOps-1 {
			want = kv.Present
		}
		if got := snap[path].State; got != want {
			t.Errorf("row %d has state %d, want %d", i, got, want)
		}
	}
	if _, err := b.store.Read(t.Context(), kv.Default, paths...); !errors.Is(err, kv.ErrTooLarge) {
		t.Errorf("reading %d paths gives %v, want ErrTooLarge", len(paths), err)
	}
}

// testConsistency only makes sure that each mode is understood; what it
// promises shows in a cluster alone.
func testConsistency(t *testing.T, b bench) {
	path := b.path("a")
	b.set(path, "x")
	for _, mode := range []kv.Consistency{kv.Default, kv.Stale, kv.Consistent} {
		snap, err := b.store.Read(t.Context(), mode, path)
		if err != nil {
			t.Errorf("mode %d: %v", mode, err)
			continue
		}
		if mode != kv.Stale && string(snap[path].Value) != "x" { // a stale one may be old
			t.Errorf("mode %d reads %+v, want x", mode, snap[path])
		}
	}
}

func testKeys(t *testing.T, b bench) {
	for _, name := range []string{"k/b", "k/a/2", "k/a/1", "k-other", "k/a", "k"} {
		b.set(b.path(name), "x")
	}
	tests := []struct {
		prefix string
		want   []string
	}{
		{"k/", []string{"k/a", "k/a/1", "k/a/2", "k/b"}},
		{"k", []string{"k", "k-other", "k/a", "k/a/1", "k/a/2", "k/b"}}, // a prefix, not a folder
		{"k/a/1", []string{"k/a/1"}},
		{"k/c", nil},
	}
	for _, test := range tests {
		got, err := b.store.Keys(t.Context(), b.path(test.prefix))
		if err != nil {
			t.Errorf("keys of %s: %v", test.prefix, err)
			continue
		}
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], b.prefix)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("keys of %s are %q, want %q", test.prefix, got, test.want)
		}
	}
	for prefix, want := range map[string][]string{"k/": {"k/a", "k/a/", "k/b"}, "k/a/": {"k/a/1", "k/a/2"}, "k/c/": nil} {
		got, err := b.store.Level(t.Context(), b.path(prefix))
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], b.prefix)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the level of %s is %q, %v, want %q", prefix, got, err, want)
		}
	}
}

func testContext(t *testing.T, b bench) {
	path := b.path("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	requests := map[string]func() error{
		"Read":   func() error { _, err := b.store.Read(ctx, kv.Default, path); return err },
		"Keys":   func() error { _, err := b.store.Keys(ctx, b.prefix); return err },
		"Commit": func() error { _, err := b.store.Commit(ctx, []kv.Op{{Verb: kv.Set, Path: path}}); return err },
	}
	for name, request := range requests {
		err := request()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s gives %v, want context.Canceled in it", name, err)
		}
		if !errors.Is(err, kv.ErrUnreachable) {
			t.Errorf("%s gives %v, want ErrUnreachable: nothing was sent", name, err)
		}
	}
	b.wantsAbsent(path)
}
