package difftest

import (
	"fmt"
	"strconv"
	"strings"
)

// Step is one request, with placeholders for what is each server's own:
//
//	{p}            a prefix that no earlier sequence has used
//	{s0} … {s9}    the id of a session that this sequence created; when there is none, one that never was
//	{mod:KEY}      the ModifyIndex of a key now, 0 when it is missing; {mod-1:KEY} is one less
//	{idx:TARGET}   the X-Consul-Index that GET of TARGET gives now; {idx-1:TARGET} is one less
//	{b64:N}        base64 of N bytes
type Step struct {
	Method  string // Watch starts a GET that waits, and goes on with the next step
	Target  string // path and query as they go onto the wire
	Header  string // one more header, such as "Content-Type: text/plain"; "" is none
	Body    string
	Fill    int  // a body of that many bytes, in place of Body
	Chunked bool // send the body without a Content-Length
}

// Watch is the Method of a blocked query: a GET of Target with the index that
// it has now. When a later step changes what it must tell, its answer is
// waited for and compared.
const Watch = "WATCH"

// Sequence is what happens to servers that were empty before.
type Sequence []Step

// String is the sequence as Parse reads it, to be kept as a case.
func (s Sequence) String() string {
	var b strings.Builder
	for _, step := range s {
		fmt.Fprintf(&b, "%s %s\n", step.Method, quote(step.Target))
		if step.Header != "" {
			fmt.Fprintf(&b, "  header %s\n", quote(step.Header))
		}
		if step.Body != "" {
			fmt.Fprintf(&b, "  body %s\n", quote(step.Body))
		}
		if step.Fill > 0 {
			fmt.Fprintf(&b, "  fill %d\n", step.Fill)
		}
		if step.Chunked {
			b.WriteString("  chunked\n")
		}
	}
	return b.String()
}

// Parse reads a sequence: "METHOD target" for each step, and indented below it
// "header", "body", "fill" and "chunked". Text that begins with a double quote
// is a Go string; empty lines and those with # in front are left out.
func Parse(text string) (Sequence, error) {
	var s Sequence
	for n, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		value, err := unquote(rest)
		switch {
		case err != nil:
		case line[0] != ' ':
			s = append(s, Step{Method: word, Target: value})
		case len(s) == 0:
			err = fmt.Errorf("%q belongs to no step", word)
		default:
			err = s[len(s)-1].set(word, value)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return s, nil
}

func (s *Step) set(word, value string) (err error) {
	switch word {
	case "header":
		s.Header = value
	case "body":
		s.Body = value
	case "fill":
		s.Fill, err = strconv.Atoi(value)
	case "chunked":
		s.Chunked = true
	default:
		err = fmt.Errorf("%q is none of header, body, fill, chunked", word)
	}
	return err
}

// quote leaves text readable where a line can hold it.
func quote(s string) string {
	plain := !strings.HasPrefix(s, `"`) && strings.TrimSpace(s) == s
	for _, r := range s {
		plain = plain && strconv.IsPrint(r)
	}
	if plain {
		return s
	}
	return strconv.Quote(s)
}

func unquote(s string) (string, error) {
	if !strings.HasPrefix(s, `"`) {
		return s, nil
	}
	u, err := strconv.Unquote(s)
	if err != nil {
		return "", fmt.Errorf("%s is no Go string: %w", s, err)
	}
	return u, nil
}
