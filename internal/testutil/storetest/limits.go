package storetest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

func testOpsLimit(t *testing.T, b bench) {
	ops := make([]kv.Op, kv.MaxOps+1)
	for i := range ops {
		ops[i] = kv.Op{Verb: kv.Set, Path: b.path(fmt.Sprintf("row-%02d", i)), Value: []byte("x")}
	}
	b.refused(kv.ErrTooLarge, ops...)
	b.wantsAbsent(ops[0].Path)
	if indexes := b.commit(ops[:kv.MaxOps]...); len(indexes) != kv.MaxOps {
		t.Errorf("%d writes return %d indexes", kv.MaxOps, len(indexes))
	}
}

// testLargestPublish: what kv.MaxStored promises, with everything else as
// large as it gets.
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

func testTooLarge(t *testing.T, b bench) {
	path, half := b.path("a"), make([]byte, kv.MaxTxnBody/2)
	b.refused(kv.ErrTooLarge, kv.Op{Verb: kv.Set, Path: path, Value: make([]byte, kv.MaxTxnBody+1)})
	b.refused(kv.ErrTooLarge, kv.Op{Verb: kv.Set, Path: path, Value: make([]byte, kv.MaxTxnBody)}) // base64 needs more
	b.refused(kv.ErrTooLarge,
		kv.Op{Verb: kv.Set, Path: path, Value: half},
		kv.Op{Verb: kv.Set, Path: b.path("b"), Value: half},
	)
	b.wantsAbsent(path)
	b.commit(kv.Op{Verb: kv.Set, Path: path, Value: half})
}

func testBadRequest(t *testing.T, b bench) {
	path := b.path("a")
	write := kv.Op{Verb: kv.Set, Path: path}
	b.refused(kv.ErrRequest, write, kv.Op{Path: b.path("no verb")})
	b.refused(kv.ErrRequest, write, kv.Op{Verb: kv.Delete + 1, Path: b.path("unknown verb")})
	b.refused(kv.ErrRequest, write, kv.Op{Verb: kv.Set})
	b.refused(kv.ErrRequest, write, kv.Op{Verb: kv.Set, Path: b.path("not UTF-8 \xff")})
	b.wantsAbsent(path)
	for _, bad := range []string{"", b.path("not UTF-8 \xff")} {
		if _, err := b.store.Read(t.Context(), kv.Default, path, bad); !errors.Is(err, kv.ErrRequest) {
			t.Errorf("reading the path %q gives %v, want ErrRequest", bad, err)
		}
	}
}
