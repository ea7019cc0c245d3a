package record

import (
	"bytes"
	"slices"
	"sort"
	"strings"
	"testing"
)

func TestChecksum(t *testing.T) {
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := Checksum(nil); got != empty {
		t.Errorf("no data has the checksum %s", got)
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := Checksum([]byte("abc")); got != abc {
		t.Errorf("abc has the checksum %s", got)
	}
}

func TestLinesCountsNewlines(t *testing.T) {
	for in, want := range map[string]int{
		"":              1,
		"one":           1,
		"one\n":         1,
		"one\ntwo":      1,
		"one\ntwo\n":    2,
		"\n\n\n":        3,
		"one\r\ntwo\r":  1,
		"1\n2\n3\n4\n5": 4,
	} {
		if got := Lines([]byte(in)); got != want {
			t.Errorf("%q has %d lines, want %d", in, got, want)
		}
	}
}

func TestSort(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", "", ""},
		{"only blank lines", "\n\n\n", ""},
		{"one line loses its newline", "a\n", "a"},
		{"blank lines go", "b\n\n\na\n", "a\nb"},
		{"by bytes, not by letters", "b\na\nB\nÄ\n10\n9\n", "10\n9\nB\na\nb\nÄ"},
		{"equal lines stay", "x\ny\nx\n", "x\nx\ny"},
		{"a blank is a line", "b\n \na\n\t\n", "\t\n \na\nb"},
		{"a carriage return is a line", "b\r\n\r\na\r\n", "\r\na\r\nb\r"},
		{"not UTF-8", "\xff\n\x80\n\x00\n", "\x00\n\x80\n\xff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(tt.in)
			if got := string(Sort(in)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if string(in) != tt.in {
				t.Errorf("the input became %q", in)
			}
		})
	}
}

func FuzzSort(f *testing.F) {
	for _, seed := range []string{"", "\n", "b\na", "b\na\n", "\n\nb\n\n\na\n\n", "b\r\na\r\n", "\xff\n\x00\n", "a\na\na"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		before := bytes.Clone(plain)
		got := Sort(plain)
		if want := naiveSort(string(plain)); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !bytes.Equal(plain, before) {
			t.Error("the input has changed")
		}
		if again := Sort(got); !bytes.Equal(again, got) {
			t.Errorf("sorting twice gives %q, once %q", again, got)
		}
	})
}

// naiveSort states the rule in the plainest way: strings, in order.
func naiveSort(plain string) string {
	lines := strings.Split(plain, "\n")
	sort.Strings(lines)
	blank := 0 // blank lines sort first
	for blank < len(lines) && lines[blank] == "" {
		blank++
	}
	return strings.Join(slices.Clip(lines[blank:]), "\n")
}
