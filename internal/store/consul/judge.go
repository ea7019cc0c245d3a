package consul

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

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

// judge classifies an answer that is not usable.
func (s *Store) judge(resp *http.Response) *failure {
	// An error's text is for people: what arrives of it will do.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	code, text := resp.StatusCode, string(body)
	said := fmt.Errorf("status %d: %s", code, s.clean(text))
	switch {
	case code >= 300 && code < 400:
		return &failure{kind: kv.ErrNotStore, cause: fmt.Errorf(
			"status %d redirects to %s, which is not followed because the token would go there; check the address",
			code, s.clean(resp.Header.Get("Location")))}
	case code < 300, code == http.StatusConflict, code == http.StatusNotFound:
		return &failure{kind: kv.ErrNotStore, cause: fmt.Errorf(
			"status %d with content of type %q, where JSON was due; check the address, and whether the network wants a login first",
			code, s.clean(resp.Header.Get("Content-Type")))}
	case code == http.StatusForbidden && strings.HasPrefix(text, "ACL not found"):
		// Consul has only the text to tell it by.
		return &failure{kind: kv.ErrDenied, cause: fmt.Errorf("%w: %w", said, kv.ErrUnknownToken)}
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return &failure{kind: kv.ErrDenied, cause: said}
	case code == http.StatusRequestEntityTooLarge:
		return &failure{kind: kv.ErrTooLarge, cause: said}
	case code == http.StatusTooManyRequests: // it was not even looked at
		return &failure{kind: kv.ErrUnreachable, cause: fmt.Errorf("%w: %w", said, kv.ErrCrowded)}
	case code < 500:
		return &failure{kind: kv.ErrRequest, cause: said}
	}
	return &failure{kind: kv.ErrUnreachable, cause: said, maybeRan: !leaderless(text)}
}

// leaderless reports whether a 500 says that there was no leader to pass the
// request to. It is the one 5xx that proves that nothing was written, and the
// one that every election causes. Consul has only the text to tell it by.
func leaderless(text string) bool {
	return strings.HasSuffix(strings.TrimSpace(text), "No cluster leader")
}
