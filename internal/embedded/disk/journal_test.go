package disk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/disk"
)

// sample is a change with some of all.
func sample(index uint64) embedded.Change {
	return embedded.Change{
		Index: index,
		Rows: []*embedded.Row{
			{Path: "a/nil", CreateIndex: index, ModifyIndex: index},
			{Path: "a/empty", Value: []byte{}, Flags: 1<<64 - 1, CreateIndex: index, ModifyIndex: index},
			{Path: "a/large", Value: bytes.Repeat([]byte("large"), 20000), CreateIndex: 1, ModifyIndex: index},
			{Path: strings.Repeat("long/", 10000), Value: []byte("long"), CreateIndex: index, ModifyIndex: index},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	j, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]embedded.Change{sample(1)}); !errors.Is(err, embedded.ErrNotWritten) {
		t.Errorf("written before Load: %v", err)
	}
	shut(t, j)
	j, s := open(t, dir)
	newModel().check(t, s)
	first, second := sample(3), embedded.Change{Index: 4, Deleted: []string{"a/nil", "never"}}
	third := embedded.Change{Index: 9}
	add(t, j, first, second)
	add(t, j, third)
	add(t, j)
	if err := j.Load(&s); err == nil {
		t.Error("it was loaded twice")
	}
	shut(t, j)
	shut(t, j)
	if err := j.Append([]embedded.Change{third}); !errors.Is(err, embedded.ErrNotWritten) {
		t.Errorf("written after Close: %v", err)
	}
	newModel(first, second, third).check(t, reopened(t, dir))
	for name, mode := range map[string]os.FileMode{"": os.ModeDir | 0o700, "store.db": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%q: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 1 {
		t.Errorf("in the folder are %v, %v", names, err)
	}
}

// Random changes, with the folder closed and opened anew at random points, give what
// a map in memory gives.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			r.Fatal(err)
		}
		m, index := newModel(), uint64(0)
		j, _ := open(t, dir)
		defer func() { _ = j.Close() }()
		known := []string{"", "a", "a/b", strings.Repeat("x", 600), strings.Repeat("x", 601)}
		name := rapid.OneOf(rapid.SampledFrom(known), rapid.StringN(0, 4, -1))
		large := rapid.Map(rapid.IntRange(0, 30000), func(n int) []byte { return make([]byte, n) })
		value := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 9), large)
		change := rapid.Custom(func(r *rapid.T) embedded.Change {
			index += rapid.Uint64Range(1, 3).Draw(r, "step")
			c := embedded.Change{Index: index, Deleted: rapid.SliceOfN(name, 0, 2).Draw(r, "deleted")}
			for _, p := range rapid.SliceOfN(name, 0, 5).Draw(r, "rows") {
				flags := rapid.Uint64().Draw(r, "flags")
				c.Rows = append(c.Rows, &embedded.Row{Path: p, Value: value.Draw(r, "value"), Flags: flags, ModifyIndex: index})
			}
			return c
		})
		for range rapid.IntRange(1, 8).Draw(r, "batches") {
			batch := rapid.SliceOfN(change, 1, 4).Draw(r, "batch")
			m.add(batch...)
			if err := j.Append(batch); err != nil {
				r.Fatal(err)
			}
			if rapid.IntRange(0, 2).Draw(r, "reopen") > 0 {
				continue
			}
			shut(t, j)
			var s embedded.Saved
			if j, s = open(t, dir); m.differs(s) != "" {
				r.Fatal(m.differs(s))
			}
		}
	})
}

// Any bytes are no record, or one that is written and read as the same again, and none with one byte changed.
func FuzzRecord(f *testing.F) {
	for _, b := range [][]byte{nil, disk.AboutOf(3), bytes.Repeat([]byte{0xff}, 50), append(make([]byte, 32), "=name\x00value"...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := disk.Again(b); err == nil && !bytes.Equal(b, disk.Sealed(b)) {
			t.Errorf("%q is a record although its CRC is wrong", b)
		}
		sealed := disk.Sealed(b)
		first, err := disk.Again(sealed)
		if err != nil {
			return
		}
		if second, err := disk.Again(first); err != nil || !bytes.Equal(first, second) || len(first) > len(sealed) {
			t.Errorf("%q was written as %q, and then %q: %v", sealed, first, second, err)
		}
		for i := range min(len(sealed), 64) {
			broken := bytes.Clone(sealed)
			broken[i] ^= 1 << (i % 8)
			if _, err := disk.Again(broken); err == nil {
				t.Errorf("with byte %d changed %q is still a record", i, broken)
			}
		}
	})
}
