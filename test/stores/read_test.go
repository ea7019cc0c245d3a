package stores

import (
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
	if err != nil || len(snap) != 3 {
		t.Fatalf("the snapshot has %d rows, want 3: %v", len(snap), err)
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
	// Each mode is understood. Its promise shows in a cluster alone: a stale answer may be old.
	for _, mode := range []kv.Consistency{kv.Stale, kv.Consistent} {
		snap, err := b.store.Read(t.Context(), mode, full)
		if err != nil || mode != kv.Stale && string(snap[full].Value) != "x" {
			t.Errorf("mode %d reads %+v and %v, want x", mode, snap[full], err)
		}
	}
}

// everyByte is a value with each byte once.
func everyByte() []byte {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return every
}

func testValues(t *testing.T, b bench) {
	tests := []struct {
		name  string
		value []byte
		flags uint64
	}{
		{"empty", nil, 0},
		{"text", []byte("a line\n"), 0},
		{"every byte", everyByte(), 1},
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

func testKeys(t *testing.T, b bench) {
	for _, name := range []string{"k/b", "k/a/2", "k/a/1", "k-other", "k/a", "k"} {
		b.set(b.path(name), "x")
	}
	tests := []struct {
		prefix string
		level  bool
		want   []string
	}{
		{"k/", false, []string{"k/a", "k/a/1", "k/a/2", "k/b"}},
		{"k", false, []string{"k", "k-other", "k/a", "k/a/1", "k/a/2", "k/b"}}, // a prefix, not a folder
		{"k/a/1", false, []string{"k/a/1"}},
		{"k/c", false, nil},
		{"k/", true, []string{"k/a", "k/a/", "k/b"}},
		{"k/a/", true, []string{"k/a/1", "k/a/2"}},
		{"k/c/", true, nil},
	}
	for _, test := range tests {
		list := b.store.Keys
		if test.level {
			list = b.store.Level
		}
		got, err := list(t.Context(), b.path(test.prefix))
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], b.prefix)
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("keys of %s (one level: %t) are %q and %v, want %q", test.prefix, test.level, got, err, test.want)
		}
	}
}
