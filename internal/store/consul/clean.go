package consul

import (
	"errors"
	"strings"

	"kvexpress/internal/safetext"
)

// maxExcerpt is how many bytes of a server's text an error shows.
const maxExcerpt = 200

// clean makes a server's text fit for an error: without secrets, on one line, and short.
func (s *Store) clean(said string) string {
	return safetext.Line(strings.TrimSpace(safetext.Redact(said)), maxExcerpt)
}

// scrub takes the secrets out of an error that may quote what a server sent.
// Nearly always there are none, and the error is kept as it is.
func (s *Store) scrub(err error) error {
	said := err.Error()
	if clean := safetext.Redact(said); clean != said {
		return errors.New(clean)
	}
	return err
}
