package embedded_test

import (
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

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
