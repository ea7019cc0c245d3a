package command

import (
	"strings"
	"testing"
)

func TestLastLine(t *testing.T) {
	tests := []struct{ name, output, want string }{
		{"nothing", "", ""},
		{"blank lines", "\n \n\t\r\n", ""},
		{"no newline at the end", "a\nb", "b"},
		{"blank lines after it", "a\n  b  \n\n \n", "b"},
		{"a progress bar", "10%\r100%\rfailed\r", "failed"},
		{"quotes and backslashes are readable", `open "C:\x"`, `open "C:\x"`},
		{"letters are readable", "größe ≤ 日本", "größe ≤ 日本"},
		{"colours", "\x1b[31mbad\x1b[0m", `\x1b[31mbad\x1b[0m`},
		{"not UTF-8, NUL, tab", "a\xff\x00\tb", `a\xff\x00\tb`},
		{"turns the text around", "a\u202eb", `a\u202eb`},
		{"200 characters", strings.Repeat("ä", 200), strings.Repeat("ä", 200)},
		{"201 characters", strings.Repeat("ä", 201), strings.Repeat("ä", 199) + "…"},
		{"an escape is not cut", strings.Repeat("x", 198) + "\x1bxx", strings.Repeat("x", 198) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lastLine(tt.output); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
