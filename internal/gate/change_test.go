package gate

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestPercent(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0%", "20": "20%", "20%": "20%", "2.5%": "2.5%", "0.01": "0.01%", "100%": "100%", "007": "7%",
		"": "", "%": "", "20%%": "", " 20%": "", "20 %": "", "-1": "", "+5": "", "101": "", "100.01%": "", "1e1": "", "NaN": "", "1.": "",
		".5": "", "0x10": "", "1_0": "", "2,5": "", "1.234": "", "0.2.0": "", "20％": "", "1.-5": "",
	} {
		var p Percent
		err := p.Set(text)
		if p.String() != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q, %v; want %q", text, p.String(), err, want)
		}
	}
}

func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

func TestLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after  string
		shrink, change string // "": no limit
		lost, gained   int
		says           string // in the refusal; "": none
	}{
		"nothing":                    {numbered(1, 10), numbered(1, 10), "0", "0", 0, 0, ""},
		"another order":              {"a\nb\nc\n", "c\na\nb\n", "0", "0", 0, 0, ""},
		"without the last newline":   {"a\nb\n", "a\nb", "0", "0", 0, 0, ""},
		"at the limit":               {numbered(1, 10), numbered(1, 8), "20%", "20%", 2, 0, ""},
		"over the limit":             {numbered(1, 10), numbered(1, 7), "20%", "", 3, 0, "--max-shrink 30%"},
		"a hundredth over":           {numbered(1, 1000), numbered(24, 1000), "2.29%", "", 23, 0, "2.3%"},
		"exact where floats are not": {numbered(1, 1000), numbered(24, 1000), "2.3%", "2.3%", 23, 0, ""},
		"rounded up":                 {numbered(1, 3), numbered(1, 2), "33.33%", "", 1, 0, "--max-shrink 33.34%"},
		"all lines replaced":         {numbered(1, 10), numbered(11, 20), "0", "99%", 10, 10, "--max-change 100%"},
		"grows":                      {numbered(1, 10), numbered(1, 14), "0", "30%", 0, 4, "--max-change 40%"},
		"grows beyond 100%":          {numbered(1, 10), numbered(1, 40), "", "100%", 0, 30, "without --max-change"},
		"both":                       {numbered(1, 10), "x\n", "50%", "50%", 10, 1, "--max-shrink 90% and with --max-change 100%"},
		"a line that is there once":  {"a\na\na\na\n", "a\nb\nb\nb\n", "0", "50%", 3, 3, "75%"},
		"other ends of lines":        {"a\r\nb\r\n", "a\nb\n", "0", "50%", 2, 2, "100%"},
		"empty before":               {"", numbered(1, 10), "0", "0", 0, 10, ""},
		"one line":                   {"a", "b", "0", "100%", 1, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var l Limits
			for _, f := range []struct {
				text string
				p    *Percent
			}{{tt.shrink, &l.Shrink}, {tt.change, &l.Change}} {
				if f.text != "" && f.p.Set(f.text) != nil {
					t.Fatal(f.text)
				}
			}
			c := Compare([]byte(tt.before), []byte(tt.after))
			if c.Lost != tt.lost || c.Gained != tt.gained || len(c.Lines) != min(tt.lost, 10) {
				t.Errorf("got %+v", c)
			}
			err := l.Check("hosts", c)
			var r *Refusal
			if refused := errors.As(err, &r); refused != (tt.says != "") || refused && (r.Reason != Changed || r.Change == nil) {
				t.Fatalf("got %v", err)
			}
			if tt.says != "" && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q does not say %q", err, tt.says)
			}
		})
	}
}

// Large contents are compared in parts: the numbers are those of one comparison.
func TestCompareLarge(t *testing.T) {
	var before, after strings.Builder
	for i := 0; before.Len() < 6<<20; i++ {
		fmt.Fprintf(&before, "%x\n", i)
		if i%1000 != 7 {
			fmt.Fprintf(&after, "%x\n", i)
		}
	}
	c := Compare([]byte(before.String()), []byte(after.String()))
	want := []string{"7", "3ef", "7d7", "bbf", "fa7", "138f", "1777", "1b5f", "1f47", "232f"}
	if c.Lost != c.Before-c.After || c.Gained != 0 || c.Lost < 1000 || !slices.Equal(c.Lines, want) {
		t.Errorf("got %+v", c)
	}
	// Of lines of one byte there are most.
	c = Compare(bytes.Repeat([]byte("\n"), 9<<20), []byte("\n"))
	if c.Before != 9<<20 || c.Lost != 9<<20-1 {
		t.Errorf("got %+v", c)
	}
	if c := Compare([]byte("\x1b[31mred\x1b[0m"+strings.Repeat("x", 1<<20)+"\nb\n"), []byte("c\n")); len(c.Lines[0]) > 2*maxLostLine ||
		strings.Contains(c.Lines[0], "\x1b") {
		t.Errorf("it shows %q", c.Lines)
	}
}
