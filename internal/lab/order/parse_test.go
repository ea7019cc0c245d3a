package order

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "map[]",
		"\n # nobody\n":                        "map[]",
		"10.0.0.1 a b\r\n10.0.0.2\tc#d\n::1 e": "map[a:10.0.0.1 b:10.0.0.1 c:10.0.0.2 e:::1]",
		"10.0.0.1 a\n10.0.0.1 a a\n":           "map[a:10.0.0.1]",
		"::ffff:10.0.0.1 a\n10.0.0.1 a\n":      "map[a:10.0.0.1]",
	} {
		if got, err := Parse([]byte(text)); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for text, parts := range map[string][]string{
		"10.0.0.1 a\n10.0.0 b\n":                   {"line 2", "10.0.0"},
		"\n\n10.0.0.1\n":                           {"line 3", "10.0.0.1", "no name"},
		"a 10.0.0.1":                               {"line 1", `"a"`},
		"10.0.0.1 a\n# b\n10.0.0.2 b a\n10.0.0.9":  {"line 3", `"a"`, "10.0.0.2", "10.0.0.1"},
		"10.0.0.1 a\n10.0.0.1 b\n10.0.0.":          {"line 3"}, // torn
		"10.0.0.1 a 10.0.0.2 b\n10.0.0.2 10.0.0.2": {"line 2", "one address"},
	} {
		got, err := Parse([]byte(text))
		if err == nil || got != nil {
			t.Errorf("%q: got %v", text, got)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %q does not say %q", text, err, part)
			}
		}
	}
}
