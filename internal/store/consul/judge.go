package consul

import (
	"fmt"
	"io"
	"mime"
	"net/http"

	"kvexpress/internal/kv"
)

// maxErrorBody is how many bytes of an error's text are looked at.
const maxErrorBody = 4 << 10

// usable reports whether an answer can be one of Consul's that says more than
// its status.
func usable(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusConflict:
		t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		return err == nil && t == "application/json"
	case http.StatusNotFound:
		// Consul's way to say that no key has this prefix. The header tells it
		// from the 404 of any web server.
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
	// An error's text is for people: what arrives of it will do.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	e := &answerError{status: resp.StatusCode, text: string(body), shown: ": " + s.clean(string(body))}
	row, _ := s.diagnose(nil, e)
	if row.kind == kv.ErrNotStore { //nolint:errorlint // a row of our table
		e.shown = fmt.Sprintf(" with content of type %q, where JSON was due", s.clean(resp.Header.Get("Content-Type")))
		if to := resp.Header.Get("Location"); to != "" {
			e.shown = fmt.Sprintf(" redirects to %s, which is not followed because the token would go there", s.clean(to))
		}
	}
	f := &failure{kind: row.kind, cause: e, maybeRan: row.ran}
	if e.status == http.StatusTooManyRequests {
		f.cause = fmt.Errorf("%w: %w", e, kv.ErrCrowded)
	}
	return f
}
