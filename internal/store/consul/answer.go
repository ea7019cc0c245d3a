package consul

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

const (
	// maxErrorBody limits how much of an error's text is read, in bytes.
	maxErrorBody = 4 << 10
	// maxExcerpt limits how much of a server's text an error shows, in bytes.
	maxExcerpt = 200
)

// clean makes a server's text fit for an error: without secrets, on one line, and short.
func clean(text string) string {
	return safetext.Line(strings.TrimSpace(safetext.Redact(text)), maxExcerpt)
}

// shownError is an error whose text was cleaned. The cause is still found by its type.
type shownError struct {
	text  string
	cause error
}

func (e *shownError) Error() string { return e.text }
func (e *shownError) Unwrap() error { return e.cause }

// presentable makes an error that may quote a server fit to show. Nearly every error already is, and is returned as it is.
func presentable(err error) error {
	text := err.Error()
	shown := safetext.Redact(text)
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(text) > maxExcerpt*3/2 {
		shown = clean(text)
	}
	if shown == text {
		return err
	}
	return &shownError{shown, err}
}

// usable reports whether an answer may be one of Consul's that says more than its status.
func usable(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusConflict:
		t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		return err == nil && t == "application/json"
	case http.StatusNotFound: // no key has this prefix; the header tells it from the 404 of any web server
		return resp.Header.Get("X-Consul-Index") != ""
	}
	return false
}

// answerError is an answer that is not usable.
type answerError struct {
	status int
	text   string // as it came
	shown  string
}

func (e *answerError) Error() string { return fmt.Sprintf("status %d%s", e.status, e.shown) }

// judge classifies an answer that is not usable.
func (s *Store) judge(resp *http.Response) *failure {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // the text is for people: a part will do
	e := &answerError{status: resp.StatusCode, text: string(body), shown: ": " + clean(string(body))}
	row, _ := s.diagnose(nil, e)
	if row.kind == kv.ErrNotStore { //nolint:errorlint // a row of our table
		e.shown = fmt.Sprintf(" with content of type %q instead of JSON", clean(resp.Header.Get("Content-Type")))
		if to := resp.Header.Get("Location"); to != "" {
			e.shown = fmt.Sprintf(" redirects to %s; kvexpress does not follow, because the token would be sent there", clean(to))
		}
	}
	f := &failure{kind: row.kind, cause: e, maybeRan: row.ran}
	if e.status == http.StatusTooManyRequests {
		f.cause = fmt.Errorf("%w: %w", e, kv.ErrCrowded)
	}
	return f
}
