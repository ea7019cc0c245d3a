package agentfile

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
	return Env{Hostname: "web-17", Getenv: func(name string) string {
		if name == "HOME" {
			return "/home/x"
		}
		return ""
	}}
}

// load loads agent.yml of a folder with these files.
func load(t testing.TB, files map[string]string) (Config, error) {
	t.Helper()
	return loadIn(folder(t, files))
}

// loadIn names the files in errors as agent.yml and conf.d/…: the folder goes.
func loadIn(dir string) (Config, error) {
	c, err := Load(filepath.Join(dir, "agent.yml"), env())
	if err != nil {
		err = &shortened{strings.ReplaceAll(err.Error(), dir+"/", ""), err}
	}
	return c, err
}

type shortened struct {
	text string
	err  error
}

func (e *shortened) Error() string { return e.text }
func (e *shortened) Unwrap() error { return e.err }

// wantError compares whole messages; the lines of want may be indented.
func wantError(t testing.TB, err error, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(want), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	want = strings.Join(lines, "\n")
	if err == nil {
		t.Errorf("no error, want\n%s", want)
	} else if err.Error() != want {
		t.Errorf("the error is\n%v\nwant\n%s", err, want)
	}
}
