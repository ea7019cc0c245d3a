package command

import (
	"regexp"
	"strings"
)

// ShellSyntax returns the first word of a command line that only a shell understands, such as && or 2>/dev/null; "" if there is
// none. Split would pass it to the program. Quoted text is for the program.
func ShellSyntax(line string) string {
	if !strings.ContainsAny(line, "|&;<>$`") { // nearly always: no regular expression is made
		return ""
	}
	inQuotes := regexp.MustCompile(`\\['" ]|'[^']*'|"(\\.|[^"\\])*"`)
	plain := inQuotes.ReplaceAllStringFunc(line, func(s string) string { return strings.Repeat("_", len(s)) })
	// Bare; a redirection; within a word; at its end.
	syntax := regexp.MustCompile("^([|&;]|[0-9]*&?[<>].*|.*(&&|[|][|]|[$][(]|[$]{?[A-Za-z_]|`).*|.+[;&])$")
	at := 0
	for _, word := range strings.Fields(plain) {
		at += strings.Index(plain[at:], word)
		end := at + len(word)
		if syntax.MatchString(word) {
			return line[at:end]
		}
		at = end
	}
	return ""
}
