package cli

import (
	"os/exec"
	"slices"
	"testing"

	"kvexpress/internal/command"
)

// The advice is typed into a shell, which hands it to Split, which makes it a shell's: it runs the line as it was.
func TestInShell(t *testing.T) {
	for _, line := range []string{"a && b", `a "b" | c`, "echo it's $HOME; c", `a '"' "'" \n > "$x"`, "a `b` !c"} {
		typed, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+inShell(line)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if argv, err := command.Split(string(typed)); err != nil || !slices.Equal(argv, []string{"sh", "-c", line}) {
			t.Errorf("%q became %q, %v", line, argv, err)
		}
	}
}
