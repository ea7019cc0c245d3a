package record

import (
	"errors"
	"strings"
	"testing"
)

func TestFlagsAreTheContract(t *testing.T) {
	for flags, e := range []Encoding{"plain", "brotli", "zstd"} {
		if got := e.Flags(); got != uint64(flags) {
			t.Errorf("%s has flags %d, want %d", e, got, flags)
		}
		if got, err := FromFlags(uint64(flags)); got != e || err != nil {
			t.Errorf("flags %d are %q, %v, want %s", flags, got, err, e)
		}
		if got, err := ParseEncoding(string(e)); got != e || err != nil {
			t.Errorf("the name %s is %q, %v", e, got, err)
		}
	}
}

func TestUnknownEncodingsAreRefused(t *testing.T) {
	for _, flags := range []uint64{3, 4, 42, 1<<64 - 1} {
		if e, err := FromFlags(flags); !errors.Is(err, ErrUnknown) || e != "" {
			t.Errorf("flags %d are %q, %v, want ErrUnknown", flags, e, err)
		}
	}
	if _, err := FromFlags(3); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("flags 3 do not ask for a newer kvexpress: %v", err)
	}
	for _, name := range []string{"", "gzip", "Plain", "zstd ", "a\nb"} {
		e, err := ParseEncoding(name)
		if !errors.Is(err, ErrUnknown) || e != "" {
			t.Errorf("the name %q is %q, %v, want ErrUnknown", name, e, err)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("the message has several lines: %q", err)
		}
		if _, err := Encode(Encoding(name), []byte("x")); !errors.Is(err, ErrUnknown) {
			t.Errorf("Encode as %q: %v, want ErrUnknown", name, err)
		}
		if _, err := Decode(Encoding(name), []byte("x")); !errors.Is(err, ErrUnknown) {
			t.Errorf("Decode as %q: %v, want ErrUnknown", name, err)
		}
	}
}
