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
	return safetext.Line(strings.TrimSpace(s.redact(said)), maxExcerpt)
}

// scrub takes the secrets out of an error that may quote what a server sent.
// Nearly always there are none, and the error is kept as it is.
func (s *Store) scrub(err error) error {
	said := err.Error()
	if clean := s.redact(said); clean != said {
		return errors.New(clean)
	}
	return err
}

func (s *Store) redact(said string) string {
	for _, secret := range s.secrets {
		said = strings.ReplaceAll(said, secret, "(secret)")
	}
	return said
}
