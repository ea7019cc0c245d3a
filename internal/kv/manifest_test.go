package kv

import (
	"errors"
	"strings"
	"testing"
)

const goodManifest = `{"format":1,"lineage":"l","version":3,"publish_id":"p","key":"hosts",` +
	`"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"lines":1}`

func TestParseManifest(t *testing.T) {
	with := func(old, changed string) string { return strings.Replace(goodManifest, old, changed, 1) }
	for _, test := range []struct {
		name, text string
		want       error
	}{
		{"as written", goodManifest, nil},
		{"unknown fields are ignored", with(`"size":0`, `"colour":"blue","size":0`), nil},
		{"nothing is required", with(`"size":0`, `"requires":[],"size":0`), nil},
		{"a higher format", with(`"format":1`, `"format":2`), ErrManifestUnknown},
		{"a higher format with other types", with(`"format":1,"lineage":"l"`, `"format":2,"lineage":7,"requires":{"a":1}`),
			ErrManifestUnknown},
		{"an unknown requirement", with(`"size":0`, `"requires":["chunks"],"size":0`), ErrManifestUnknown},
		{"a requirement of another type", with(`"size":0`, `"requires":{"chunks":2},"size":0`), ErrManifestUnknown},
		{"no format", with(`"format":1,`, ``), ErrManifestCorrupt},
		{"no lineage", with(`"lineage":"l"`, `"lineage":""`), ErrManifestCorrupt},
		{"no version", with(`"version":3`, `"version":0`), ErrManifestCorrupt},
		{"a negative version", with(`"version":3`, `"version":-1`), ErrManifestCorrupt},
		{"a short checksum", with(`e3b0`, ``), ErrManifestCorrupt},
		{"an upper-case checksum", with(`e3b0`, `E3B0`), ErrManifestCorrupt},
		{"not JSON", "x", ErrManifestCorrupt},
		{"cut off", goodManifest[:40], ErrManifestCorrupt},
		{"empty", "", ErrManifestCorrupt},
		{"deep", strings.Repeat("[", 20000), ErrManifestCorrupt},
		{"huge", strings.Repeat(" ", maxManifest) + goodManifest, ErrManifestCorrupt},
	} {
		m, err := ParseManifest([]byte(test.text))
		if !errors.Is(err, test.want) || (test.want == nil) != (err == nil) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
		if test.want == nil && (m.Version != 3 || m.Key != "hosts") {
			t.Errorf("%s: read as %+v", test.name, m)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(goodManifest))
	f.Add([]byte(`{"format":9}`))
	f.Add([]byte(`{"format":1,"requires":["x"]}`))
	f.Add([]byte("\xff{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			if errors.Is(err, ErrManifestCorrupt) == errors.Is(err, ErrManifestUnknown) {
				t.Errorf("%q: %v is not one of the two", b, err)
			}
			return
		}
		again, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseManifest(again); err != nil || back.Version != m.Version || back.SHA256 != m.SHA256 {
			t.Errorf("%q comes back as %+v, %v", again, back, err)
		}
	})
}

// Texts from the store are cut when they are read, also those that an error quotes.
func TestTextsAreCut(t *testing.T) {
	long := strings.Repeat("ä", 20_000)
	text := strings.Replace(goodManifest, `"publish_id":"p"`, `"publish_id":"`+long[:9000]+`","encoding":"`+long[:9000]+
		`","by":"`+long[:9000]+`","message":"`+long[:9000]+`"`, 1)
	m, err := ParseManifest([]byte(text))
	if err != nil || len(m.Message) > MaxMessage || len(m.By) > MaxBy || len(m.Encoding) > MaxBy || len(m.PublishID) > MaxBy ||
		!strings.HasSuffix(m.Message, "ä…") {
		t.Errorf("%d %d %d %d, %v", len(m.Message), len(m.By), len(m.Encoding), len(m.PublishID), err)
	}
	_, err = ParseManifest([]byte(strings.Replace(goodManifest, `"size":0`, `"published_at":"`+long+`"`, 1)))
	if !errors.Is(err, ErrManifestCorrupt) || len(err.Error()) > 2*MaxMessage {
		t.Errorf("an error has %d bytes", len(err.Error()))
	}
	if r := (Entry{State: Present, Value: []byte(long)}).Reason(); len(r) > MaxReason || !strings.HasSuffix(r, "ä…") {
		t.Errorf("a reason has %d bytes", len(r))
	}
}
