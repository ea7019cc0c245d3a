//go:build linux

package lab

import "strings"

// commandLine is a command for -e of kvexpress, each word in double quotes.
func commandLine(argv []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = `"` + escape.Replace(word) + `"`
	}
	return strings.Join(words, " ")
}

// ShellWord is a text as one word for a shell.
func ShellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
