package stores

import (
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
