package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func loadText(t *testing.T, text string) (FlagFile, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "1.x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadFlagFile(path)
}

// The files that 1.x takes: YAML 1.1's words, keys without a value, and keys of others.
func TestLoadFlagFile(t *testing.T) {
	c, err := loadText(t, "---\n  consul_server: localhost:8500\n  token: 017\n  dogstatsd: yes\n  datadog_host:\n"+
		"  other: {a: [b]}\n---\nsecond: x\n")
	if want := (FlagFile{ConsulServer: "localhost:8500", Token: "017", Dogstatsd: true}); err != nil || c != want {
		t.Errorf("got %+v, want %+v: %v", c, want, err)
	}
	if c, err := loadText(t, ""); err != nil || c != (FlagFile{}) {
		t.Errorf("an empty file is %+v: %v", c, err)
	}
	for text, line := range map[string]string{
		"consul_server: x\ntoken: [secret": "line", "# a\n- secret\n": "line 2", "dogstatsd: secret\n": "line 1",
		"token: a\ntoken: secret\n": "line 2", "token: \"\x01secret\"": "1.x.yaml",
	} {
		_, err := loadText(t, text)
		if said := fmt.Sprint(err); !strings.Contains(said, "1.x.yaml") || !strings.Contains(said, line) ||
			strings.Contains(said, "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A few aliases may stand for a billion words, which take gigabytes.
func TestFlagFileOfAliases(t *testing.T) {
	text := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		text += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9))
	}
	for end, refused := range map[string]bool{"": false, "token: *i\n": true, "<<: *i\n": true} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := loadText(t, text+end)
		runtime.ReadMemStats(&after)
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 50 || (err != nil) != refused {
			t.Errorf("with %q it takes %d MB: %v", end, mb, err)
		}
	}
}
