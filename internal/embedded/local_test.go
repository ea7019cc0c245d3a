package embedded_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// A denied path is neither absent nor empty, and denies the whole write.
func TestDeny(t *testing.T) {
	denied := func(path string, write bool) bool {
		return strings.HasPrefix(path, "secret/") || write && strings.HasPrefix(path, "readonly/")
	}
	s := embedded.New(embedded.Deny(denied))

	snap, err := s.Read(t.Context(), kv.Default, "secret/a", "open/a", "readonly/a")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]kv.State{"secret/a": kv.Denied, "open/a": kv.Absent, "readonly/a": kv.Absent} {
		if got := snap[path].State; got != want {
			t.Errorf("state of %s is %v, want %v", path, got, want)
		}
	}

	if snap, err := s.Read(t.Context(), kv.Default, "secret/", "open/a"); err != nil || len(snap) != 1 {
		t.Errorf("a denied tree gives %v and %v, want no rows of it", snap, err)
	}

	for _, path := range []string{"secret/a", "readonly/a"} {
		_, err := s.Commit(t.Context(), []kv.Op{
			{Verb: kv.Set, Path: "open/a", Value: []byte("x")},
			{Verb: kv.CheckAbsent, Path: path},
		})
		if !errors.Is(err, kv.ErrDenied) || !strings.Contains(err.Error(), path) {
			t.Errorf("commit with %s gives %v, want ErrDenied that names it", path, err)
		}
	}
	if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.CheckIndex, Path: "readonly/a", Index: 1}}); !errors.Is(err,
		kv.ErrConflict) {
		t.Errorf("a check of a readable path gives %v, want ErrConflict", err)
	}
	keys, err := s.Keys(t.Context(), "")
	if err != nil || len(keys) != 0 {
		t.Errorf("keys are %q and %v, want none: a denied write must leave nothing", keys, err)
	}
	hidden := false
	s = embedded.New(embedded.Deny(func(path string, _ bool) bool { return hidden && path == "a/1" }))
	if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: "a/2"}, {Verb: kv.Set, Path: "a/1"}}); err != nil {
		t.Fatal(err)
	}
	hidden = true
	if snap, err := s.Read(t.Context(), kv.Default, "a/"); err != nil || len(snap) != 1 || snap["a/2"].State != kv.Present {
		t.Errorf("the tree is %v and %v, want only a/2", snap, err)
	}
	if keys, err := s.Keys(t.Context(), "a/"); err != nil || !slices.Equal(keys, []string{"a/2"}) {
		t.Errorf("keys are %q and %v, want only a/2", keys, err)
	}
}

// Values belong to the store: neither the caller's later changes to what it
// wrote, nor to what it read, may reach it.
func TestValuesAreCopied(t *testing.T) {
	s := embedded.New()
	value := []byte("good")
	if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: "a", Value: value}}); err != nil {
		t.Fatal(err)
	}
	value[0] = 'f'
	for range 2 {
		snap, err := s.Read(t.Context(), kv.Default, "a")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(snap["a"].Value); got != "good" {
			t.Fatalf("value is %q, want %q", got, "good")
		}
		snap["a"].Value[0] = 'w'
	}
}
