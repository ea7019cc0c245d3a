package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder is a folder with these files, by path.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// env is of a host web-17, whose environment is empty but for a home.
func env() Env {
	return Env{Hostname: "web-17", Getenv: func(name string) string { return map[string]string{"HOME": "/home/x"}[name] }}
}

// load loads agent.yml of a folder with these files.
func load(t testing.TB, files map[string]string) (Config, error) {
	t.Helper()
	return Load(filepath.Join(folder(t, files), "agent.yml"), env())
}

// wantError compares the lines of an error with those of want: a place, and words that the line has. The lines of
// want may be indented.
func wantError(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want\n%s", want)
		return
	}
	got, wanted := strings.Split(err.Error(), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	good := len(got) == len(wanted)
	for i := 0; good && i < len(got); i++ {
		place, words, _ := strings.Cut(strings.TrimSpace(wanted[i]), " ")
		at, text, _ := strings.Cut(got[i], ": ")
		good = strings.HasSuffix(at, "/"+place) && strings.Contains(text, words)
	}
	if !good {
		t.Errorf("the error is\n%v\nwant\n%s", err, want)
	}
}
