package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// manual writes the pages of section 1, one for each command, from the help that the program prints. The keys of
// the result are names of pages: kvexpress, kvexpress-in, kvexpress-kv-export.
func manual(help func(command ...string) ([]byte, error), version string, date time.Time) (map[string]string, error) {
	pages := map[string]string{}
	var add func(about string, command ...string) error
	add = func(about string, command ...string) error {
		text, err := help(command...)
		if err != nil {
			return err
		}
		name := strings.Join(append([]string{"kvexpress"}, command...), "-")
		pages[name] = page(name, about, string(text), version, date)
		for _, sub := range subcommands(string(text)) {
			if err := add(sub[2], append(command, sub[1])...); err != nil {
				return err
			}
		}
		return nil
	}
	return pages, add("put a file on every machine of a fleet through Consul, verified")
}

var (
	sectionLine = regexp.MustCompile(`^([A-Za-z].*):$`)
	commandLine = regexp.MustCompile(`^  ([a-z]+) {2,}(\S.*)$`)
	flagLine    = regexp.MustCompile(`^ +((?:-\w, )?--[a-z-]+)(?: (\S+))? {3,}(\S.*)$`)
	lastLine    = regexp.MustCompile(`(?m)^Use "kvexpress.* COMMAND --help" for more about a command\.\n`)
)

// subcommands finds the commands in a help, each with its name and its short text.
func subcommands(help string) (all [][]string) {
	if !lastLine.MatchString(help) {
		return nil
	}
	section := ""
	for line := range strings.Lines(help) {
		line = strings.TrimSuffix(line, "\n")
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if m := commandLine.FindStringSubmatch(line); m != nil && section != "Examples" {
			all = append(all, m)
		}
	}
	return all
}

// page turns one help into a manual page.
func page(name, about, help, version string, date time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %s %q\n", roff(strings.ToUpper(name)), date.Format(time.DateOnly), "kvexpress "+version)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", roff(name), roff(about))
	example := false // in a block that is printed as it is
	for line := range strings.Lines(lastLine.ReplaceAllString(help, "")) {
		line = strings.TrimSuffix(line, "\n")
		flag, command := flagLine.FindStringSubmatch(line), commandLine.FindStringSubmatch(line)
		verbatim := flag == nil && command == nil && strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		if verbatim != example {
			example = verbatim
			b.WriteString(map[bool]string{true: ".EX\n", false: ".EE\n"}[example])
		}
		switch section := sectionLine.FindStringSubmatch(line); {
		case section != nil:
			fmt.Fprintf(&b, ".SH %s\n", roff(strings.ToUpper(section[1])))
		case flag != nil:
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR \\fI%s\\fR\n%s\n", roff(flag[1]), roff(flag[2]), roff(flag[3]))
		case command != nil:
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(command[1]), roff(command[2]))
		case line == "":
			b.WriteString(".PP\n")
		default:
			b.WriteString(roff(line) + "\n")
		}
	}
	if example {
		b.WriteString(".EE\n")
	}
	b.WriteString(".SH SEE ALSO\n.BR kvexpress (1),\n.BR kvexpress\\-agent.yml (5),\n.BR kvexpress\\-hub.yml (5)\n")
	return b.String()
}

// roff escapes a text.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\t", "    ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}
