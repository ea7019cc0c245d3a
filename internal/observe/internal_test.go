package observe

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestLinkPausesAfterAFailure(t *testing.T) {
	dials := 0
	l := &conn{limit: time.Second, dial: func(context.Context) (net.Conn, error) {
		dials++
		return nil, os.ErrNotExist
	}}
	if _, err := l.Write([]byte("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the cause", err)
	}
	for range 10 {
		if _, err := l.Write([]byte("x")); !errors.Is(err, errDropped) {
			t.Errorf("got %v, want errDropped", err)
		}
	}
	if dials != 1 {
		t.Errorf("dialled %d times, want once", dials)
	}
	l.resume = time.Now()
	if _, err := l.Write([]byte("x")); !errors.Is(err, os.ErrNotExist) || dials != 2 {
		t.Errorf("after the circuit breaker closes: %v after %d dials, want a second attempt", err, dials)
	}
}

func FuzzEscapeGivesOneHarmlessLine(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb\r\x00\x1b[2J", "\xff\x80", "\u202e\u2028\ufeff\ufffd", "it's \\' x",
		strings.Repeat("é", maxValue), "\\" + strings.Repeat("'", maxValue)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{pair("k", s), tag("k", s)} {
			if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
				t.Errorf("%q became %q", s, got)
			}
		}
		value := strings.TrimPrefix(pair("k", s), " k='")
		end := 0 // of the value: its first quote that is not escaped
		for value[end] != '\'' {
			if value[end] == '\\' {
				end++
			}
			end++
		}
		if end != len(value)-1 {
			t.Errorf("%q ends its quotes early in %q", s, value)
		}
		if strings.ContainsAny(tag("k", s), ",|") || len(tag("k", s)) > maxTag {
			t.Errorf("%q breaks out of the tag %q", s, tag("k", s))
		}
	})
}
