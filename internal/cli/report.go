package cli

import (
	"encoding/json"
	"fmt"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/command"
)

// printResult prints the result and the error. If the result cannot be printed, it prints why and returns that error.
func (s *session) printResult(r report, err error, code int) error {
	var out []byte
	var lost error
	if s.g.json {
		failed := ""
		if err != nil {
			failed = s.guide().Explain(err)
		}
		out, lost = render.JSON(r, failed, code)
		out = s.compact(out)
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

// said is a report with one sentence, and its fields for JSON.
type said struct {
	text   string
	fields any // of a struct
}

func (r said) lines() []string              { return []string{render.Line(r.text)} }
func (r said) MarshalJSON() ([]byte, error) { return json.Marshal(r.fields) }

// execReport is the result of an exec, in JSON.
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

// showDiff prints a unified diff, in colour on a terminal.
func (s *session) showDiff(from, to string, before, after []byte) error {
	shown := render.Diff(s.colour(), from, to, before, after)
	if s.g.json || len(shown) == 0 {
		return nil
	}
	if _, err := s.Stdout.Write(shown); err != nil {
		return fmt.Errorf("print the difference: %w", err)
	}
	return nil
}

// colour is for terminals, and never with NO_COLOR.
func (a *App) colour() bool {
	if a.inside != nil {
		return a.inside.colour
	}
	return a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && render.IsTerminal(a.Stdout)
}
