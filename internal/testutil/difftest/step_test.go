package difftest

import (
	"fmt"
	"strings"
)

// Step is one request, with placeholders for values that differ between servers:
//
//	{p}            a prefix that no earlier sequence has used
//	{mod:KEY}      the ModifyIndex of a key now, 0 when it is missing; {mod-1:KEY} is one less
//	{idx:TARGET}   the X-Consul-Index that GET of TARGET gives now; {idx-1:TARGET} is one less
type Step struct {
	Method string // Watch starts a GET that waits, and goes on with the next step
	Target string // path and query
	Body   string // one line
}

// Watch is the Method of a blocking query: a GET of Target with the index that
// it has now. When a later step changes its answer, the test waits for
// the answer and compares it.
const Watch = "WATCH"

// Sequence is a list of steps on servers that were empty before.
type Sequence []Step

// String is the sequence as Parse reads it, to be kept as a case.
func (s Sequence) String() string {
	var b strings.Builder
	for _, step := range s {
		fmt.Fprintf(&b, "%s %s\n", step.Method, step.Target)
		if step.Body != "" {
			fmt.Fprintf(&b, "  %s\n", step.Body)
		}
	}
	return b.String()
}

// Parse reads a sequence: "METHOD target" for each step, and indented below it
// its body. Empty lines and those with # in front are left out.
func Parse(text string) (Sequence, error) {
	var s Sequence
	for n, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "" || line[0] == '#':
		case line[0] == ' ' && len(s) == 0:
			return nil, fmt.Errorf("line %d: %q belongs to no step", n+1, line)
		case line[0] == ' ':
			s[len(s)-1].Body = strings.TrimPrefix(line, "  ")
		default:
			method, target, _ := strings.Cut(line, " ")
			s = append(s, Step{Method: method, Target: target})
		}
	}
	return s, nil
}
