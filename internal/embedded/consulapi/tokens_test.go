package consulapi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const secret, other = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "0f8fad5b-d9cb-469f-a165-70867728950e"

func parsedRules(t testing.TB, text string) rules {
	t.Helper()
	tokens, err := ParseTokens([]byte("anonymous {" + text + "\n}"))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return tokens.anonymous.rules
}

// rights of a policy on a key, in letters.
func may(r rules, key string) string {
	s := ""
	for _, can := range []struct {
		letter string
		ok     bool
	}{{"r", r.reads(key)}, {"w", r.writes(key)}, {"t", r.writesAll(key)}} {
		if can.ok {
			s += can.letter
		}
	}
	return s
}

func TestRulePrecedence(t *testing.T) {
	for text, want := range map[string]map[string]string{
		``:                                    {"": "", "a": ""},
		`key_prefix "" { policy = "write" }`:  {"": "rwt", "a": "rwt"},
		`key_prefix "a/" { policy = "read" }`: {"a": "", "a/": "r", "a/b": "r"},
		`key "a" { policy = "write" }`:        {"a": "rw", "a/": "", "": ""},
		`key "a" { policy = "deny" } key_prefix "" { policy = "write" }`: {"a": "",
			"ab": "rwt", "": "rw", "b": "rwt"},
		`key_prefix "a/b" { policy = "write" } key_prefix "a" { policy="read"}`: {"a": "r",
			"a/b": "rwt", "a/bc": "rwt"},
		`key_prefix "a" { policy = "write" } key_prefix "a/b" { policy="list"}`: {"a": "rw",
			"a/b": "r", "a/c": "rwt"},
		`key "a" { policy = "read" } key "a" { policy = "write" }`:                                               {"a": "rw"},
		`key "a" { policy = "write" } key "a" { policy = "deny" }`:                                               {"a": ""},
		`key_prefix "a" { policy = "list" } key_prefix "a" { policy = "read" }`:                                  {"ab": "r"},
		`key_prefix a { policy = "WRITE" }`:                                                                      {"a": "rwt"},
		"# a comment\n// another\n/* one\n more */ key \"\\\"\\\\\\u00e9\" {\r\n policy = \"read\" // here\r\n}": {"\"\\é": "r"},
		`key "${a}" { policy = "read" }`:                                                                         {"${a}": "r"},
	} {
		r := parsedRules(t, text)
		for key, letters := range want {
			if got := may(r, key); got != letters {
				t.Errorf("%s: on %q it may %q, want %q", text, key, got, letters)
			}
		}
	}
}

func TestRulesRefused(t *testing.T) {
	for text, want := range map[string]string{
		"\n\nfoo \"a\" { policy = \"read\" }":          "line 3: unknown rule",
		"key \"a\" {\n policy = \"all\" }":             "line 2: policy is",
		`key "a" { }`:                                  "no policy",
		`key "a" { policy = "read" sentinel = "x" }`:   "only a policy",
		`key "a" { policy = "read" policy = "write" }`: "occurs twice",
		`key "a" { policy = 7 }`:                       "quoted text",
		`key "a" { policy = { a = "b" } }`:             "policy is",
		`key { policy = "read" }`:                      "NAME",
		`key = "read"`:                                 "NAME",
		`key "a" "b" { policy = "read" }`:              "NAME",
		"key \"a\" {\n policy = \"read\"":              "line 3",
		`key "a`:                                       "line 1",
		"a" + strings.Repeat("{a", 1000):               "nested too deeply",
		"a = " + strings.Repeat("[", 1<<19):            "nested too deeply",
		strings.Repeat("a ", 1000) + "{}":              "unknown rule",
		"key \"\xff\" { policy = \"read\" }":           "line 1",
		"key \"a\" { policy = \"read\" }\x00":          "line 1",
		"key \"\\q\" { policy = \"read\" }":            "line 1",
	} {
		r, err := ParseTokens([]byte("anonymous {" + text + "\n}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q gives %+v, %v; want %q", text, r, err, want)
		}
	}
}

const file = `
# who may do what
token "` + secret + `" {
  name = "publisher"
  key_prefix "app/" { policy = "write" }
  node_prefix "" { policy = "read" }
  operator = "read"
}
token "` + other + `" { name = "powerless" }
anonymous {
  key "public" { policy = "read" }
  service "x" { policy = "write" intentions = "read" }
}
`

func TestTokens(t *testing.T) {
	tokens, err := ParseTokens([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if got := tokens.Ignored(); tokens.Len() != 2 || !tokens.Anonymous() || !slices.Equal(got, []string{"node_prefix", "operator", "service"}) {
		t.Errorf("%d tokens, without effect: %v", tokens.Len(), got)
	}
	acl := NewACL(tokens)
	for token, want := range map[string]string{secret: "publisher w.", other: "powerless ..", "": " .r"} {
		a, err := acl.grant(token)
		if err != nil {
			t.Fatal(err)
		}
		got := a.name + " "
		for _, ok := range []string{letter(a.keyWrite("app/x") == nil && a.reads("app/") && a.keyWriteAll("app/") == nil, "w"), letter(a.reads("public"), "r")} {
			got += ok
		}
		if got != want {
			t.Errorf("a token may %q, want %q", got, want)
		}
	}
	for _, unknown := range []string{"x", secret + " ", strings.ToUpper(secret), secret[1:]} {
		if a, err := acl.grant(unknown); !errors.Is(err, errUnknownToken) {
			t.Errorf("%q is somebody: %v", unknown, a)
		}
	}
}

func letter(ok bool, l string) string {
	if ok {
		return l
	}
	return "."
}

// A token that loses a permission loses it for waiting requests, too.
func TestSwapTokens(t *testing.T) {
	parsed := func(text string) *Tokens {
		tokens, err := ParseTokens([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	acl := NewACL(parsed(file))
	held, err := acl.grant(secret)
	if err != nil {
		t.Fatal(err)
	}
	anonymous, _ := acl.grant("")
	acl.Swap(parsed(`token "` + secret + `" { name = "less" key "app/1" { policy = "read" } }`))
	if held.keyWrite("app/1") == nil || !held.reads("app/1") || held.name != "publisher" || anonymous.reads("public") {
		t.Error("an older request keeps a permission that its token lost")
	}
	acl.Swap(parsed(""))
	if held.reads("app/1") {
		t.Error("a request of a removed token may read")
	}
	if _, err := acl.grant(secret); !errors.Is(err, errUnknownToken) {
		t.Error(err)
	}
}

// An error names the line and never quotes it: it could be a secret.
func TestTokensRefused(t *testing.T) {
	block := func(s string) string { return `token "` + s + `" { name = "n" }` }
	for text, want := range map[string]string{
		"\ntoken \"" + secret + "\" {}": "line 2: the token has no name",
		block(secret[:15]):              "shorter than 16",
		block(secret + "\\n"):           "no header",
		block(secret + " x"):            "no header",
		block(secret + "é"):             "no header",
		block(secret) + block(other):    "same name",
		block(secret) + "\n" + strings.Replace(block(secret), `"n"`, `"m"`, 1): "line 2: another token has the same secret",
		`"` + secret + `" { name = "n" }`:                                      "contains only",
		secret[10:] + ` { name = "n" }`:                                        "line 1",
		`token { "` + secret + `" { name = "n" } }`:                            "contains only",
		`token "` + secret + `"`:                                               "line 1",
		`token = "` + secret + `"`:                                             "contains only",
		`token "` + secret:                                                     "line 1",
		`token "` + secret + `" { name = "` + other + `" `:                     "line 1",
		`token "` + secret + `" { ` + other[9:] + ` "x" { policy = "read" } }`: "unknown rule",
		`token "` + secret + `" { name = "" }`:                                 "1 to 128",
		`token "` + secret + `" { name = "a" name = "b" }`:                     "occurs twice",
		`token "` + secret + `" { name = { a = "b" } }`:                        "1 to 128",
		`token "` + secret + `" { name = "a\nb" }`:                             "1 to 128",
		`token "` + secret + `" { name = "` + strings.Repeat("a", 129) + `" }`: "1 to 128",
		`token "` + secret + `" "` + other + `" { name = "a" }`:                "contains only",
		`anonymous {} anonymous {}`:                                            "occurs twice",
		`anonymous { name = "x" }`:                                             "has no name",
		`key "a" { policy = "read" }`:                                          "contains only",
	} {
		tokens, err := ParseTokens([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %+v, %v; want %q", text, tokens, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), secret[:8]) || strings.Contains(err.Error(), secret[10:]) ||
			strings.Contains(err.Error(), other[9:])) {
			t.Errorf("the error of %s tells a secret: %v", text, err)
		}
	}
}

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens.hcl")
	put := func(content string, mode fs.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for mode, fine := range map[fs.FileMode]bool{0o600: true, 0o640: true, 0o400: true, 0o440: true, 0o644: false, 0o604: false,
		0o660: false, 0o606: false, 0o700: false, 0o777: false} {
		put(file, mode)
		tokens, err := LoadTokens(path)
		if (err == nil) != fine || fine && tokens.Len() != 2 {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if !fine && !strings.Contains(fmt.Sprint(err), "chmod 0600 "+path) {
			t.Errorf("no remedy: %v", err)
		}
	}
	for content, want := range map[string]string{
		"": "every request would be denied", "# nothing\n": "every request would be denied", file + "\nx": path, file + "#" + strings.Repeat("x", maxTokenFile): "more than",
	} {
		put(content, 0o600)
		if _, err := LoadTokens(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := LoadTokens(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if _, err := LoadTokens(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTokens(fifo); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	put(file, 0o600)
	if os.Geteuid() == 0 { // only root can change the owner of a file
		if err := os.Chown(path, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadTokens(path); err == nil || !strings.Contains(err.Error(), "belongs to uid 12345") {
			t.Error(err)
		}
	}
}

// Any bytes have a result, and no error quotes them.
func FuzzParseTokens(f *testing.F) {
	for _, seed := range []string{
		file, "", "{", "}", "[", "a = <<EOF\nx\nEOF\n", "a = <<-EOF\n  x\n  EOF\n", "a = <<", "a = <<\n",
		"key \"${\"a\"}\" { policy = \"read\" }", "a \"\\u12\" {}", "a = 1e3", "a = 0x", "a = -", "a = [1,", "/*", "/* x", "a = true",
		"\xef\xbb\xbfkey \"a\" { policy = \"read\" }", "a\x00", "a = \"\\", "a,b", "a = {b = {c = [{d = {}}]}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		tokens, err := ParseTokens(src)
		if err == nil {
			_, _ = NewACL(tokens).grant("x")
		}
	})
}
