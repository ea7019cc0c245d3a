package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

var (
	link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	row  = regexp.MustCompile(`(?m)^\| (.*?) \| (?:(.*?) ?\| )?(.*) \|\n`)
	rule = regexp.MustCompile(`(?m)^\|.*\n\|(---\|)+\n`)
)

// fileManual turns the part of a document below a heading into a page of section 5. Tables of settings become lists:
// they are too wide for a terminal.
func fileManual(name, heading, text, version string, date time.Time) ([]byte, error) {
	_, text, found := strings.Cut("\n"+text, "\n"+heading+"\n")
	if !found {
		return nil, fmt.Errorf("no heading %q", heading)
	}
	if level, _, _ := strings.Cut(heading, " "); len(level) > 1 {
		text, _, _ = strings.Cut(text, "\n"+level+" ")
	}
	text = link.ReplaceAllString(rule.ReplaceAllString(text, ""), "$1")
	text = row.ReplaceAllStringFunc(text, func(line string) string {
		m := row.FindStringSubmatch(line)
		if m[2] == "" {
			return fmt.Sprintf("\n%s\n: %s\n", m[1], m[3])
		}
		return fmt.Sprintf("\n%s\n: %s. Default: %s.\n", m[1], m[3], m[2])
	})
	title := fmt.Sprintf("%% %s 5 %s %q\n\n# NAME\n%s - configuration of kvexpress\n\n# DESCRIPTION\n", strings.ToUpper(name),
		date.Format(time.DateOnly), "kvexpress "+version, name)
	return md2man.Render([]byte(title + text)), nil
}
