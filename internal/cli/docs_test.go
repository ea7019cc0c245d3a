package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The command reference shows each command's help as it is. KVEXPRESS_UPDATE=1
// writes it anew.
func TestCommandReference(t *testing.T) {
	const path = "../../docs/commands.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```text\n\\$ kvexpress ([a-z ]*?) ?--help\n.*?```")
	shown := map[string]bool{}
	want := block.ReplaceAllStringFunc(string(b), func(old string) string {
		name := block.FindStringSubmatch(old)[1]
		file := name
		if name == "" {
			file = "kvexpress"
		}
		shown[file] = true
		help, err := os.ReadFile(filepath.Join("testdata", "help", strings.ReplaceAll(file, " ", "_")+".txt"))
		if err != nil {
			t.Error(err)
		}
		line := strings.Join(strings.Fields("$ kvexpress "+name+" --help"), " ")
		return "```text\n" + line + "\n" + string(help) + "```"
	})
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("%s does not show today's help; KVEXPRESS_UPDATE=1 go test ./internal/cli writes it", path)
	}
	for _, name := range commandNames() {
		if name != "help" && !shown[name] {
			t.Errorf("%s does not show the command %s", path, name)
		}
	}
}

// Every exit code of the table in exit.go is in the reference.
func TestExitCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| 0 |", "| 1 |", "| 3 |", "| 4 |", "| 5 |", "| 6 |", "| 7 |", "| 8 |", "| 9 |", "| 10 |"} {
		if !strings.Contains(string(b), "\n"+row) {
			t.Errorf("docs/commands.md has no row %s", row)
		}
	}
}
