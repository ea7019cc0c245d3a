package command

import (
	"strings"
	"testing"
)

func TestLastLine(t *testing.T) {
	tests := []struct{ name, output, want string }{
		{"nothing", "", ""},
		{"blank lines", "\n \n\t\n", ""},
		{"no newline at the end", "a\nb", "b"},
		{"blank lines after it", "a\n  b  \n\n \n", "b"},
		{"quotes and backslashes are readable", `open "C:\x"`, `open "C:\x"`},
		{"long", strings.Repeat("x", 201), strings.Repeat("x", 200) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lastLine(tt.output); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
