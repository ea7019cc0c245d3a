package consul

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
)

// maxExcerpt is how many characters of a server's text an error shows.
const maxExcerpt = 200

// clean makes a server's text fit for an error: without secrets, on one line,
// short, and with everything unprintable escaped.
func (s *Store) clean(text string) string {
	var b strings.Builder
	count := 0
	for _, r := range strings.TrimSpace(s.redact(text)) {
		shown := string(r)
		if !unicode.IsPrint(r) {
			shown = strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		}
		if count += len([]rune(shown)); count > maxExcerpt-1 {
			b.WriteString("…")
			break
		}
		b.WriteString(shown)
	}
	return b.String()
}

// scrub takes the secrets out of an error that may quote what a server sent.
// Nearly always there are none, and the error is kept as it is.
func (s *Store) scrub(err error) error {
	text := err.Error()
	if clean := s.redact(text); clean != text {
		return errors.New(clean)
	}
	return err
}

func (s *Store) redact(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "(secret)")
	}
	return text
}
