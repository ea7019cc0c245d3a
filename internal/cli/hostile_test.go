package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A hostile name ends with exit code 1 before the first request. The error is one line of printable
// ASCII, shorter than the name.
func TestHostileNames(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "")
	consul := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the store is asked for %s", r.URL)
	}))
	defer consul.Close()
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	if err := os.WriteFile(source, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "target")
	commands := map[string][]string{
		"in -k":      {"in", "-f", source, "-l", "1", "-k", "NAME"},
		"in -p":      {"in", "-f", source, "-l", "1", "-k", "hosts", "-p", "NAME"},
		"out -k":     {"out", "-f", target, "--state-dir", dir, "-k", "NAME"},
		"out -p":     {"out", "-f", target, "--state-dir", dir, "-k", "hosts", "-p", "NAME"},
		"copy from":  {"copy", "--keyto", "hosts", "--keyfrom", "NAME"},
		"copy to":    {"copy", "--keyfrom", "hosts", "--keyto", "NAME"},
		"stop":       {"stop", "-r", "why", "-k", "NAME"},
		"resume":     {"resume", "-k", "NAME"},
		"lock -p":    {"lock", "-f", target, "-p", "NAME"},
		"lock on":    {"lock", "-f", target, "--node", "NAME"},
		"unlock on":  {"unlock", "-f", target, "--node", "NAME"},
		"locks on":   {"locks", "--node", "NAME"},
		"locks -p":   {"locks", "-p", "NAME"},
		"stops -p":   {"stops", "-p", "NAME"},
		"acl":        {"acl", "node", "-k", "NAME"},
		"history":    {"history", "-k", "NAME"},
		"show":       {"show", "-k", "NAME"},
		"diff":       {"diff", "-k", "NAME"},
		"rollback":   {"rollback", "-k", "NAME"},
		"rollback p": {"rollback", "-k", "hosts", "-p", "NAME"},
	}
	names := map[string]string{
		"up":            "../x",
		"up inside":     "a/../b",
		"dot inside":    "a/./b",
		"empty part":    "a//b",
		"hidden":        ".x",
		"history":       ".history/x",
		"line break":    "a\nkvexpress: all is well",
		"return":        "a\rb",
		"NUL":           "a\x00b", // no command line has it, other callers may
		"escaped dot":   "%2e%2e/x",
		"query":         "a?recurse",
		"fragment":      "a#b",
		"ANSI":          "a\x1b[2Jb",
		"look-alike":    "h\u043fsts",
		"right-to-left": "a\u202eb",
		"broken UTF-8":  "a\xffb",
		"blank":         "a b",
		"backslash":     `a\b`,
		"quote":         `a"b'c`,
		"long":          strings.Repeat("k", 10<<10),
		"deep":          strings.Repeat("a/", 5<<10) + "a",
	}
	for what, words := range commands {
		for kind, name := range names {
			var stdout, stderr bytes.Buffer
			app := App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: quietEnv, StateDir: dir}
			args := []string{"-s", consul.URL, "--retry-for", "0"}
			for _, word := range words {
				args = append(args, strings.Replace(word, "NAME", name, 1))
			}
			code := app.Run(t.Context(), args)
			text := stderr.String()
			if code != exitOther {
				t.Errorf("%s, %s: exit code %d: %s", what, kind, code, text)
			}
			if stdout.Len() > 0 {
				t.Errorf("%s, %s: prints %q", what, kind, stdout.String())
			}
			line, ended := strings.CutSuffix(text, "\n")
			foul := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' })
			if !ended || foul >= 0 || !strings.HasPrefix(line, "kvexpress: ") || len(line) > 500 {
				t.Errorf("%s, %s: complains with %q", what, kind, text)
			}
		}
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("the target was made")
	}
}

// quietEnv keeps a test's run from syslog and from this machine's Datadog agent.
func quietEnv(name string) string {
	return map[string]string{
		"KVEXPRESS_SYSLOG": "off", "KVEXPRESS_DATADOG_CONF": "/nonexistent",
	}[name]
}
