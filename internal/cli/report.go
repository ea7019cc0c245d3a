package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"kvexpress/internal/command"
	"kvexpress/internal/safetext"
)

// tell prints the result, and the error if there is one. It returns, and has told, why the
// result could not be printed.
func (s *session) tell(r report, err error, code int) error {
	var out []byte
	var lost error
	if s.g.json {
		failed := ""
		if err != nil {
			failed = s.guide().Explain(err)
		}
		out, lost = inJSON(r, failed, code)
	} else if r != nil {
		if sentence, ok := r.(said); ok {
			sentence.text = s.guide().Typed(sentence.text)
			r = sentence
		}
		for _, line := range r.lines() {
			out = append(append(out, line...), '\n')
		}
	}
	if lost == nil && len(out) > 0 {
		_, lost = s.Stdout.Write(out)
	}
	if err != nil {
		s.complain(err)
	}
	if lost != nil {
		lost = fmt.Errorf("print the result: %w", lost)
		s.complain(lost)
	}
	return lost
}

// inJSON is one object: the fields of the report, and "error" and "exit_code".
func inJSON(r report, failed string, code int) ([]byte, error) {
	fields := map[string]any{}
	if r != nil {
		// Through JSON, so that the report's tags decide. Numbers stay as they are: a
		// float64 has not room for all digits of a version.
		b, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := dec.Decode(&fields); err != nil {
			return nil, err
		}
	}
	fields["exit_code"] = code
	if failed != "" {
		fields["error"] = failed
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return nil, err
	}
	return printableJSON(out.Bytes()), nil
}

// printableJSON escapes what does not print, and JSON allows in strings: a terminal may
// obey U+009B as it does ESC [. All else in JSON is ASCII.
func printableJSON(text []byte) []byte {
	var b []byte
	for _, r := range string(text) {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r): // a tab is never in a string of JSON
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// said is a report of plain sentences with a few fields for JSON.
type said struct {
	text   string
	fields map[string]any
}

func (r said) lines() []string              { return []string{printable(r.text)} }
func (r said) MarshalJSON() ([]byte, error) { return json.Marshal(r.fields) }

// execReport is how an exec went, in JSON.
type execReport struct {
	ExitCode int     `json:"exit_code"`
	Signal   string  `json:"signal,omitempty"`
	Seconds  float64 `json:"seconds"`
	Output   string  `json:"output,omitempty"`
}

func reportExec(r *command.Result) *execReport {
	if r == nil {
		return nil
	}
	return &execReport{ExitCode: r.ExitCode, Signal: r.Signal, Seconds: r.Duration.Seconds(), Output: r.Output}
}

// short is the beginning of a checksum, enough for people to compare.
func short(sha string) string {
	if len(sha) > 12 {
		return sha[:12]
	}
	return sha
}

// plural is "1 line", "2 lines".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// versionOf is how a version is called.
func versionOf(v uint64) string {
	if v == 0 {
		return "an unmanaged version"
	}
	return fmt.Sprintf("version %d", v)
}

// printable keeps a text from outside from moving the cursor, or from hiding a
// part of itself.
func printable(s string) string { return safetext.Line(s, 0) }
