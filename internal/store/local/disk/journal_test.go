package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	m := newModel()
	j, s := open(t, dir)
	m.check(t, s)
	first, second := sample(3), local.Change{Index: 4, Deleted: []string{"a/nil", "never"}, Reaped: []string{"b"}, Ended: []string{"s2"}}
	third := local.Change{Index: 9, Sessions: []*local.Session{{ID: "s1", Name: "again"}}}
	m.add(first, second, third)
	add(t, j, first, second)
	add(t, j, third)
	add(t, j)
	if err := j.Load(&s); err == nil {
		t.Error("it was loaded twice")
	}
	shut(t, j)
	shut(t, j)
	if err := j.Append([]local.Change{third}); !errors.Is(err, local.ErrNotWritten) {
		t.Errorf("written after Close: %v", err)
	}
	m.check(t, reopened(t, dir))
	for name, mode := range map[string]os.FileMode{"": os.ModeDir | 0o700, "store.db": 0o600, "log": 0o600, "lock": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%q: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 3 {
		t.Errorf("in the folder are %v, %v", names, err)
	}
}

// Nothing is written before what is there was loaded.
func TestAppendBeforeLoad(t *testing.T) {
	j, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Append([]local.Change{sample(1)}); !errors.Is(err, local.ErrNotWritten) {
		t.Errorf("error %v", err)
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
		j, _ := openSized(t, dir, rapid.SampledFrom([]int64{disk.Direct, 4 << 10, smallLog, 100 << 10}).Draw(r, "log"))
		defer func() { _ = j.Close() }()
		name := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "a/b", strings.Repeat("x", 600), strings.Repeat("x", 601)}), rapid.StringN(0, 4, -1))
		value := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 9), rapid.Map(rapid.IntRange(0, 30000), func(n int) []byte { return make([]byte, n) }))
		change := rapid.Custom(func(r *rapid.T) local.Change {
			index += rapid.Uint64Range(1, 3).Draw(r, "step")
			c := local.Change{
				Index: index, Deleted: rapid.SliceOfN(name, 0, 2).Draw(r, "deleted"),
				Reaped: rapid.SliceOfN(name, 0, 2).Draw(r, "reaped"), Ended: rapid.SliceOfN(name, 0, 2).Draw(r, "ended"),
			}
			for _, p := range rapid.SliceOfN(name, 0, 5).Draw(r, "rows") {
				c.Rows = append(c.Rows, &local.Row{Path: p, Value: value.Draw(r, "value"), Flags: rapid.Uint64().Draw(r, "flags"), Session: name.Draw(r, "session"), ModifyIndex: index})
			}
			for _, p := range rapid.SliceOfN(name, 0, 2).Draw(r, "graves") {
				c.Graves = append(c.Graves, local.Grave{Path: p, Index: index, At: time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(r, "at"), 5)})
			}
			for _, p := range rapid.SliceOfN(name, 0, 2).Draw(r, "sessions") {
				c.Sessions = append(c.Sessions, &local.Session{ID: p, TTL: name.Draw(r, "ttl"), LockDelay: time.Duration(rapid.Int64().Draw(r, "delay")), NodeChecks: rapid.SliceOfN(name, 0, 2).Draw(r, "checks")})
			}
			return c
		})
		for range rapid.IntRange(1, 8).Draw(r, "batches") {
			batch := rapid.SliceOfN(change, 1, 4).Draw(r, "batch")
			m.add(batch...)
			if err := j.Append(batch); err != nil {
				r.Fatal(err)
			}
			if rapid.IntRange(0, 2).Draw(r, "reopen") == 0 {
				if rapid.Bool().Draw(r, "crash") {
					dir = copied(t, dir)
				}
				shut(t, j)
				var s local.Saved
				j, s = open(t, dir)
				if diff := m.differs(s); diff != "" {
					r.Fatal(diff)
				}
			}
		}
		shut(t, j)
		if diff := m.differs(reopened(t, dir)); diff != "" {
			r.Fatal(diff)
		}
	})
}

// A store of some size, with pages of all kinds, and its free pages.
func TestLargeStore(t *testing.T) {
	dir, m := t.TempDir(), newModel()
	j, _ := open(t, dir)
	index := uint64(0)
	for round := range 20 {
		c := local.Change{Index: index + 1}
		index++
		for i := range 1000 {
			c.Rows = append(c.Rows, &local.Row{Path: fmt.Sprintf("some/where/%05d", (i*7919+round*613)%9000), Value: make([]byte, i%500), ModifyIndex: index})
		}
		if round%5 == 4 {
			for i := range 3000 {
				c.Deleted = append(c.Deleted, fmt.Sprintf("some/where/%05d", i+round*100))
			}
		}
		m.add(c)
		add(t, j, c)
	}
	shut(t, j)
	m.check(t, reopened(t, dir))
}

// The engine on a journal finds again what it was told.
func TestUnderTheEngine(t *testing.T) {
	dir := t.TempDir()
	start := func() *local.Engine {
		j, err := disk.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		e, err := local.Open(local.Options{Journal: j})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := start()
	for i := range 10 {
		op := local.Op{Verb: local.Set, Path: fmt.Sprint("k/", i%7), Value: fmt.Append(nil, i)}
		if _, err := e.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Apply(t.Context(), local.Op{Verb: local.DeleteTree, Path: "k/1"}); err != nil {
		t.Fatal(err)
	}
	all := func(v local.View) (s string) {
		for r := range v.List("") {
			s += fmt.Sprintf("%+v\n", *r)
		}
		return s + fmt.Sprint(v.Index(), v.ListIndex("k/1"), v.ListIndex("k/"))
	}
	want := all(e.View())
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = start()
	defer e.Close()
	if got := all(e.View()); got != want || !strings.Contains(got, "k/6") {
		t.Errorf("after:\n%s\nbefore:\n%s", got, want)
	}
}
