package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The help texts, as people see them. KVEXPRESS_UPDATE=1 writes them anew: read
// the difference before you commit it.
func TestHelp(t *testing.T) {
	const dir = "testdata/help"
	known := map[string]bool{}
	for _, name := range append(commandNames(), "kvexpress") {
		file := strings.ReplaceAll(name, " ", "_") + ".txt"
		known[file] = true
		args := append(strings.Fields(name), "--help")
		if name == "kvexpress" {
			args = args[1:]
		}
		var stdout, stderr bytes.Buffer
		app := App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: quietEnv}
		if code := app.Run(t.Context(), args); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s --help ends with %d: %s", name, code, stderr.String())
		}
		golden := filepath.Join(dir, file)
		if os.Getenv("KVEXPRESS_UPDATE") != "" {
			if err := os.WriteFile(golden, stdout.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Error(err)
		}
		if !bytes.Equal(stdout.Bytes(), want) {
			t.Errorf("%s --help differs from %s (KVEXPRESS_UPDATE=1 writes it):\n%s", name, golden, stdout.String())
		}
		for line := range strings.Lines(stdout.String()) {
			if strings.ContainsAny(line, "\x1b\r\t") {
				t.Errorf("%s --help has an unprintable line: %q", name, line)
			}
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !known[file.Name()] {
			t.Errorf("%s/%s is about no command", dir, file.Name())
		}
	}
}
