package publish

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// TestLimits publishes each size with the longest names and texts there are, and
// wants every transaction to fit into one request, also when history is full.
func TestLimits(t *testing.T) {
	key := kv.Key(strings.Repeat("k", kv.MaxKeyLen))
	for _, size := range []int{0, 1, 190 << 10, kv.MaxStored - 1, kv.MaxStored, kv.MaxStored + 1} {
		for _, e := range []record.Encoding{record.Plain, record.Zstd} {
			t.Run(fmt.Sprintf("%s %d", e, size), func(t *testing.T) {
				s := &probe{Store: newStore()}
				p := publisher(t, s)
				p.Layout = layout(t, strings.Repeat("p", kv.MaxPrefixLen))
				p.By = strings.Repeat(`"`, 2*kv.MaxBy)
				for i := range 12 {
					// Noise does not shrink: as zstd it grows by a few bytes.
					content := noise(size, uint64(i))
					if e == record.Zstd && size > 100 {
						content = content[:size-100]
					}
					if size == 1 {
						content[0] = byte(i)
					}
					res, err := p.Publish(t.Context(), Request{
						Key: key, Content: content, Encoding: e, Message: strings.Repeat(`\`, kv.MaxMessage),
					})
					if size == 0 || size > kv.MaxStored && e == record.Plain {
						var r *gate.Refusal
						if !errors.As(err, &r) {
							t.Fatalf("got %+v, %v, want a refusal", res, err)
						}
						return
					}
					if err != nil {
						t.Fatalf("version %d: %v", i+1, err)
					}
					mustBeLive(t, s, p.Layout, key, res, content)
				}
				if s.largest > kv.MaxTxnBody {
					t.Errorf("the largest request has %d bytes, at most %d are allowed", s.largest, kv.MaxTxnBody)
				}
				if n := len(pastVersions(t, s, p.Layout, key)); n != 10 {
					t.Errorf("%d versions in history, want 10", n)
				}
			})
		}
	}
}

// The choice between one transaction and two rests on the bound.
func TestBodySizeIsAnUpperBound(t *testing.T) {
	ops := []kv.Op{
		{Verb: kv.CheckAndSet, Path: "a", Value: noise(1000, 1), Flags: 2, Index: 1 << 40},
		{Verb: kv.CheckAbsent, Path: strings.Repeat("b", 500)},
		{Verb: kv.CheckIndex, Path: "c", Index: 1 << 40},
	}
	for n := range len(ops) + 1 {
		wire, bound := wireSize(ops[:n]), bodySize(ops[:n])
		if n > 0 && (wire > bound || bound > wire+n*60) {
			t.Errorf("%d operations: %d bytes, the bound says %d", n, wire, bound)
		}
	}
}

func TestHistoryHoldsTheSmallerForm(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	for version, tt := range []struct {
		content []byte
		flags   uint64
	}{
		{bytes.Repeat([]byte("line\n"), 1000), record.Zstd.Flags()},
		{noise(1000, 1), record.Plain.Flags()},
	} {
		do(t, p, string(tt.content))
		row := get1(t, s, p.Layout.HistoryData(hosts, uint64(version+1)))
		if row.Flags != tt.flags || len(row.Value) > len(tt.content) {
			t.Errorf("version %d: flags %d and %d bytes, want flags %d and at most %d", version+1, row.Flags, len(row.Value), tt.flags,
				len(tt.content))
		}
	}
}
