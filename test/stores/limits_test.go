package stores

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

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

// testReadTree: a tree counts as one path of a read, whatever its size.
func testReadTree(t *testing.T, b bench) {
	ops := make([]kv.Op, kv.MaxOps)
	paths := []string{b.path("t/")}
	for i := range ops {
		ops[i] = set(b.path(fmt.Sprintf("t/%02d", i)), "")
		paths = append(paths, b.path(fmt.Sprintf("plain-%02d", i)))
	}
	b.commit(ops...)
	snap, err := b.store.Read(t.Context(), kv.Default, paths[:kv.MaxOps]...)
	if err != nil || len(snap) != len(ops)+kv.MaxOps-1 {
		t.Errorf("a tree of %d rows beside %d paths gives %d rows, %v", len(ops), kv.MaxOps-1, len(snap), err)
	}
}

func testOpsLimit(t *testing.T, b bench) {
	ops := make([]kv.Op, kv.MaxOps+1)
	for i := range ops {
		ops[i] = set(b.path(fmt.Sprintf("row-%02d", i)), "x")
	}
	b.refused(kv.ErrTooLarge, ops...)
	b.wantsAbsent(ops[0].Path)
	if indexes := b.commit(ops[:kv.MaxOps]...); len(indexes) != kv.MaxOps {
		t.Errorf("%d writes return %d indexes", kv.MaxOps, len(indexes))
	}
}

// testLargestPublish: kv.MaxStored bytes fit, with everything else as large as it gets.
func testLargestPublish(t *testing.T, b bench) {
	long := func(name string) string { return b.path(strings.Repeat("p", 400-len(b.prefix)-len(name)) + name) }
	data := make([]byte, kv.MaxStored)
	for i := range data {
		data[i] = byte(i * 7)
	}
	sum := sha256.Sum256(data)
	manifest, err := kv.Manifest{
		Format: kv.ManifestFormat, Lineage: kv.NewID(), Version: 1<<64 - 1, PublishID: kv.NewID(),
		Key: kv.Key(strings.Repeat("k", kv.MaxKeyLen)), SHA256: hex.EncodeToString(sum[:]),
		Size: 1<<63 - 1, Lines: 1 << 30, Encoding: "brotli", PublishedAt: time.Unix(1, 999999999),
		By: strings.Repeat("b", kv.MaxBy), Message: strings.Repeat("m", kv.MaxMessage),
	}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	indexes := b.commit(
		kv.Op{Verb: kv.CheckAbsent, Path: long("stop")},
		kv.Op{Verb: kv.CheckAndSet, Path: long("data"), Value: data, Flags: 1},
		kv.Op{Verb: kv.CheckAndSet, Path: long("checksum"), Value: []byte(hex.EncodeToString(sum[:]))},
		kv.Op{Verb: kv.CheckAndSet, Path: long("manifest"), Value: manifest},
	)
	if len(indexes) != 3 {
		t.Errorf("the publish wrote %d paths, want 3", len(indexes))
	}
	b.wants(long("data"), string(data))
	b.wants(long("manifest"), string(manifest))
}

func testTooLarge(_ *testing.T, b bench) {
	path, half := b.path("a"), string(make([]byte, kv.MaxTxnBody/2))
	b.refused(kv.ErrTooLarge, set(path, half+half+"x"))
	b.refused(kv.ErrTooLarge, set(path, half+half)) // base64 needs more
	b.refused(kv.ErrTooLarge, set(path, half), set(b.path("b"), half))
	b.wantsAbsent(path)
	b.set(path, half)
}

// testPut: Put takes values that are too large for a transaction, up to kv.MaxValue bytes.
func testPut(t *testing.T, b bench) {
	path := b.path("a b/\u00fc?flags=3&cas=0#%")
	for _, value := range [][]byte{bytes.Repeat([]byte{0, 0xff, '"'}, kv.MaxValue/3), make([]byte, kv.MaxValue), nil} {
		before := b.read(path).Index
		if err := b.store.Put(t.Context(), path, value, math.MaxUint64); err != nil {
			t.Fatalf("put %d bytes: %v", len(value), err)
		}
		e := b.read(path)
		if e.State != kv.Present || !bytes.Equal(e.Value, value) || e.Flags != math.MaxUint64 || e.Index <= before {
			t.Errorf("%d bytes come back as %d, with state %d, flags %d and index %d after %d",
				len(value), len(e.Value), e.State, e.Flags, e.Index, before)
		}
	}
	if err := b.store.Put(t.Context(), path, make([]byte, kv.MaxValue+1), 0); !errors.Is(err, kv.ErrTooLarge) {
		t.Errorf("a byte too many gives %v, want ErrTooLarge", err)
	}
	if e := b.read(path); len(e.Value) != 0 {
		t.Errorf("a refused Put wrote %d bytes", len(e.Value))
	}
}
