package storetest

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"

	"kvexpress/internal/kv"
)

// testPut: what is too large for a transaction, to the byte.
func testPut(t *testing.T, b bench) {
	putter, ok := b.store.(kv.Putter)
	if !ok {
		t.Fatalf("%T does not implement kv.Putter, as the store before did", b.store)
	}
	path := b.path("a b/\u00fc?flags=3&cas=0#%")
	for _, value := range [][]byte{bytes.Repeat([]byte{0, 0xff, '"'}, kv.MaxValue/3), make([]byte, kv.MaxValue), nil} {
		before := b.read(path).Index
		if err := putter.Put(t.Context(), path, value, math.MaxUint64); err != nil {
			t.Fatalf("put %d bytes: %v", len(value), err)
		}
		e := b.read(path)
		if e.State != kv.Present || !bytes.Equal(e.Value, value) || e.Flags != math.MaxUint64 || e.Index <= before {
			t.Errorf("%d bytes come back as %d, with state %d, flags %d and index %d after %d",
				len(value), len(e.Value), e.State, e.Flags, e.Index, before)
		}
	}
	if err := putter.Put(t.Context(), path, make([]byte, kv.MaxValue+1), 0); !errors.Is(err, kv.ErrTooLarge) {
		t.Errorf("a byte too many gives %v, want ErrTooLarge", err)
	}
	for _, bad := range []string{"", b.path("not UTF-8 \xff")} {
		if err := putter.Put(t.Context(), bad, nil, 0); !errors.Is(err, kv.ErrRequest) {
			t.Errorf("the path %q gives %v, want ErrRequest", bad, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := putter.Put(ended, path, []byte("x"), 0); !errors.Is(err, kv.ErrUnreachable) {
		t.Errorf("after the end of the context it gives %v, want ErrUnreachable", err)
	}
	if e := b.read(path); len(e.Value) != 0 {
		t.Errorf("what was refused has written %d bytes", len(e.Value))
	}
}
