package gate

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// For a publisher the remedy is to check the source; for a node it says that the file stays.
func TestTooSmall(t *testing.T) {
	tests := map[string]struct {
		size, lines, minLines int
		want                  Reason
		text                  string
	}{
		"fine":       {4, 2, 2, "", ""},
		"any number": {1, 1, 0, "", ""},
		"empty":      {0, 1, 0, Empty, "empty"},
		"short":      {4, 2, 3, TooShort, "2 lines; minimum is 3 (-l)"},
		"one line":   {1, 1, 2, TooShort, "1 line; minimum"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, Publishable("hosts", tt.size, tt.lines, tt.minLines), tt.want, tt.text)
			wantRefusal(t, LongEnough("hosts", tt.size, tt.lines, tt.minLines), tt.want, tt.text)
			if err := LongEnough("hosts", tt.size, tt.lines, tt.minLines); err != nil && !strings.Contains(err.Error(), "the file stays") {
				t.Error(err)
			}
		})
	}
}

func wantRefusal(t *testing.T, err error, want Reason, text string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != want || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s with %q", err, want, text)
	}
}

func TestMessage(t *testing.T) {
	for _, m := range []string{"", "Umzug nach München, siehe #42 👩‍🔧", strings.Repeat("x", kv.MaxMessage)} {
		if err := Message(m); err != nil {
			t.Errorf("%.20q: %v", m, err)
		}
	}
	for _, m := range []string{strings.Repeat("x", kv.MaxMessage+1), "a\nb", "a\x00", "\x1b[2J", "\u0085", "\xff", "a\u202eb",
		"a\u2029b"} {
		if err := Message(m); !errors.Is(err, ErrMessage) {
			t.Errorf("%.20q: %v", m, err)
		}
	}
}

func TestAuthor(t *testing.T) {
	for by, want := range map[string]string{
		"ann@build": "ann@build", "a\nn\x1bn\xff@b\u202e": "ann@b",
		strings.Repeat("ü", kv.MaxBy):       strings.Repeat("ü", kv.MaxBy/2),
		"x" + strings.Repeat("ü", kv.MaxBy): "x" + strings.Repeat("ü", kv.MaxBy/2-1),
	} {
		got := Author(by)
		if got != want || !utf8.ValidString(got) || Message(got) != nil {
			t.Errorf("%q: got %q, want %q", by, got, want)
		}
	}
}

func TestNotStopped(t *testing.T) {
	for _, row := range []kv.Entry{{State: kv.Absent}, {State: kv.Present}} {
		if err := NotStopped("hosts", row); err != nil {
			t.Errorf("%+v: %v", row, err)
		}
	}
	if err := NotStopped("hosts", kv.Entry{}); !errors.Is(err, kv.ErrDenied) {
		t.Errorf("a denied stop: %v", err)
	}
	err := NotStopped("hosts", kv.Entry{State: kv.Present, Value: []byte("a\x1b[2Jb")})
	var s *Stopped
	if !errors.As(err, &s) || s.Reason != "a\x1b[2Jb" || strings.Contains(err.Error(), "\x1b") ||
		!strings.Contains(err.Error(), "resume -k hosts") {
		t.Errorf("got %q", err)
	}
}

func TestNested(t *testing.T) {
	if err := Nested("a/b", "a"); !strings.Contains(err.Error(), `key "a"`) {
		t.Error(err)
	}
	if err := Nested("a", "a/b"); !strings.Contains(err.Error(), `key "a/b"`) {
		t.Error(err)
	}
}

func TestKeyBelow(t *testing.T) {
	l, err := kv.NewLayout("p/q")
	if err != nil {
		t.Fatal(err)
	}
	own := []string{"p/q/a/data", "p/q/a/checksum", "p/q/a/manifest", "p/q/a/stop", "p/q/a/signature", "p/q/a/candidate/data",
		"p/q/a/x", "p/q/a/x/y", "p/q/ab/c/data", "p/q/a//data", "data", ""}
	if k, ok := KeyBelow(l, "a", own); ok {
		t.Errorf("found %q among rows that are a's own, or of no key", k)
	}
	for _, path := range []string{"p/q/a/b/data", "p/q/a/b/checksum", "p/q/a/b/manifest"} {
		if k, ok := KeyBelow(l, "a", append(own, path)); !ok || k != "a/b" {
			t.Errorf("%s: %q, %v", path, k, ok)
		}
	}
	if k, ok := KeyBelow(l, "a", []string{"p/q/a/b/c/d/data"}); !ok || k != "a/b/c/d" {
		t.Errorf("deeper: %q, %v", k, ok)
	}
}
