package command

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	tests := []struct {
		name, line string
		want       []string
	}{
		{"one word", "true", []string{"true"}},
		{"as 1.x", "  /usr/sbin/service dnsmasq\treload\n", []string{"/usr/sbin/service", "dnsmasq", "reload"}},
		{"wide blanks as 1.x", "a\u00a0b\u2003c", []string{"a", "b", "c"}},
		{"no shell", "echo $HOME *.go; a|b >c #d ~ `e` &&", []string{"echo", "$HOME", "*.go;", "a|b", ">c", "#d", "~", "`e`", "&&"}},
		{"single quotes", `sh -c 'kill -HUP 1; "x" \'`, []string{"sh", "-c", `kill -HUP 1; "x" \`}},
		{"double quotes", `sh -c "echo 'a b' \"c\" \\ \n \$x"`, []string{"sh", "-c", `echo 'a b' "c" \ \n \$x`}},
		{"quotes inside a word", `--name="a b"'c d'e f`, []string{"--name=a bc de", "f"}},
		{"empty arguments", `x "" '' y`, []string{"x", "", "", "y"}},
		{"an empty piece of a word", `x a""b`, []string{"x", "ab"}},
		{"a newline in quotes", "x 'a\nb'", []string{"x", "a\nb"}},
		{"a backslash is literal", `grep \d+ C:\dir a\\b \`, []string{"grep", `\d+`, `C:\dir`, `a\\b`, `\`}},
		{"an escaped blank", "a\\ b c\\\td", []string{"a b", "c\td"}},
		{"only an escaped blank", `a \ `, []string{"a", " "}},
		{"an escaped quote", `a it\'s 5\"`, []string{"a", "it's", `5"`}},
		{"two backslashes and a blank", `a b\\ c`, []string{"a", `b\ c`}},
		{"not UTF-8", "a\xff \x85b", []string{"a\xff", "\x85b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Split(tt.line)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("Split(%q) = %q, %v\nwant %q", tt.line, got, err, tt.want)
			}
		})
	}
}

func TestSplitRefuses(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"nothing", "", "empty"},
		{"only blanks", " \t\n\u00a0", "empty"},
		{"no program", `"" -x`, "empty"},
		{"a single quote", `echo it's`, "position 8: the quote '"},
		{"a double quote", `echo "a b\"`, `position 6: the quote "`},
		{"the last of several quotes", `echo "a" 'b' "c`, `position 14: the quote "`},
		{"a backslash does not escape in single quotes", `echo 'a\' b'`, "position 12: the quote '"},
		{"NUL", "echo a\x00b", "position 7: a NUL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Split(tt.line)
			if err == nil || got != nil {
				t.Fatalf("got %q, %v, want an error", got, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{
		"", " ", "true", "service dnsmasq reload", "  a\tb\n", "a\u00a0b", "a\xffb \x85",
		`sh -c 'a b'`, `x "a \" \\ b" ''`, `--n="a b"c`, `a\ b\`, `it's`, `"`, "a\x00b", `"" x`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		argv, err := Split(line)
		if err != nil {
			if argv != nil {
				t.Fatalf("got %q, %v", argv, err)
			}
		} else if len(argv) == 0 || argv[0] == "" {
			t.Fatalf("%d words were accepted: %q", len(argv), argv)
		}
		plain := !strings.ContainsAny(line, "'\"\\\x00")
		if fields := strings.Fields(line); plain && len(fields) > 0 {
			if err != nil || !slices.Equal(argv, fields) {
				t.Fatalf("%q became %q, %v; 1.x made it %q", line, argv, err, fields)
			}
		}
		// Whatever it was, quoting brings it back.
		if err == nil {
			again, err := Split(quoteAll(argv))
			if err != nil || !slices.Equal(again, argv) {
				t.Fatalf("%q came back as %q, %v", argv, again, err)
			}
		}
	})
}

func quoteAll(argv []string) string {
	var b strings.Builder
	for _, arg := range argv {
		b.WriteString(` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(arg) + `"`)
	}
	return b.String()
}
