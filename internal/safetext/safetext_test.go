package safetext

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"größe ≤ 日本", 0, "größe ≤ 日本"},
		{"\x1b[31mbad\x1b[0m", 0, `\x1b[31mbad\x1b[0m`},
		{"a\xff\x00\tb\n", 0, `a\xff\x00\tb\n`},
		{"a\u202eb\u2028c", 0, `a\u202eb\u2028c`},
		{strings.Repeat("ä", 100), 200, strings.Repeat("ä", 100)},
		{strings.Repeat("ä", 101), 200, strings.Repeat("ä", 100) + mark},
		{strings.Repeat("x", 198) + "\x1bxx", 200, strings.Repeat("x", 198) + mark}, // an escape is not cut
	} {
		if got := Line(test.text, test.most); got != test.want {
			t.Errorf("%q became %q, want %q", test.text, got, test.want)
		}
	}
	if got := Joined("first\r\nsecond\n", 0); got != "first; second" {
		t.Errorf("got %q", got)
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"", "a\nb\r\x00\x1b[2J", "\xff\x80", "\u202e\u2028\ufeff\ufffd", strings.Repeat("é", 300)} {
		f.Add(s, 100)
	}
	f.Fuzz(func(t *testing.T, s string, most int) {
		for _, got := range []string{Line(s, most), Joined(s, most)} {
			long := most > 0 && len(got) > most+len(mark)
			if long || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q became %q", s, got)
			}
		}
		if got := Cut(s, most); most >= len(mark) && len(got) > most {
			t.Errorf("%q was cut to %q", s, got)
		}
	})
}
