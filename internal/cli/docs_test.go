package cli

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const reference = "../../docs/commands.md"

// The command reference shows each command's help as the command prints it.
// KVEXPRESS_UPDATE=1 writes it anew: read the difference before you commit it.
func TestCommandReference(t *testing.T) {
	b, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```text\n\\$ kvexpress ([a-z ]*?) ?--help\n.*?```")
	shown := map[string]bool{}
	want := block.ReplaceAllStringFunc(string(b), func(old string) string {
		args := append(strings.Fields(block.FindStringSubmatch(old)[1]), "--help")
		shown[strings.Join(args, " ")] = true
		return "```text\n$ kvexpress " + strings.Join(args, " ") + "\n" + helpOf(t, args) + "```"
	})
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("%s is stale; KVEXPRESS_UPDATE=1 go test ./internal/cli writes it", reference)
	}
	for _, name := range commandNames() {
		if name != "help" && !shown[name+" --help"] {
			t.Errorf("%s does not show the command %s", reference, name)
		}
	}
}

func helpOf(t *testing.T, args []string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	app := App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: quietEnv}
	if code := app.Run(t.Context(), args); code != 0 || stderr.Len() > 0 {
		t.Errorf("%v ends with %d: %s", args, code, stderr.String())
	}
	for line := range strings.Lines(stdout.String()) {
		unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), unprintable) {
			t.Errorf("%v prints %q", args, line)
		}
	}
	return stdout.String()
}

// Every exit code that a command may end with is in the reference.
func TestExitCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| 0 |", "| 1 |", "| 3 |", "| 4 |", "| 5 |", "| 6 |", "| 7 |", "| 8 |", "| 9 |", "| 10 |", "| 11 |"} {
		if !strings.Contains(string(b), "\n"+row) {
			t.Errorf("%s has no row %s", reference, row)
		}
	}
}

// docs/scale.md shows what `kvexpress hub size` prints. KVEXPRESS_UPDATE=1 writes it anew.
func TestScalePage(t *testing.T) {
	const page = "../../docs/scale.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```text\n\\$ kvexpress (hub size [a-z0-9 -]+)\n.*?```")
	if len(block.FindAll(b, -1)) == 0 {
		t.Errorf("%s shows no fleet", page)
	}
	want := block.ReplaceAllStringFunc(string(b), func(old string) string {
		command := block.FindStringSubmatch(old)[1]
		return "```text\n$ kvexpress " + command + "\n" + helpOf(t, strings.Fields(command)) + "```"
	})
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		err = os.WriteFile(page, []byte(want), 0o644)
	} else if want != string(b) {
		t.Errorf("%s is stale; KVEXPRESS_UPDATE=1 go test ./internal/cli writes it", page)
	}
	if err != nil {
		t.Fatal(err)
	}
}
