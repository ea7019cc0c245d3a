package consul

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"kvexpress/internal/safetext"
)

// What a network's error quotes of a server, such as the names in a certificate,
// is made fit to show; an error that is fit is kept, with all that is in it.
func TestBroken(t *testing.T) {
	safetext.Hide("the-token")
	s := &Store{}
	for text, want := range map[string]string{
		"valid for \x1b[31mhere":   `valid for \x1b[31mhere`,
		"\u202e the-token\r\n":     `\u202e (secret)`,
		strings.Repeat("x", 1<<20): strings.Repeat("x", maxExcerpt) + "…",
	} {
		if got := s.broken(t.Context(), errors.New(text)).Error(); got != want {
			t.Errorf("%.40q is shown as %.300q, want %q", text, got, want)
		}
	}
	if err := s.broken(t.Context(), io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an error that is fit to show became %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller's\nreason"))
	if err := s.broken(ctx, io.EOF); !errors.Is(err, context.Canceled) {
		t.Errorf("the end of a context became %v, want context.Canceled in it", err)
	}
}
