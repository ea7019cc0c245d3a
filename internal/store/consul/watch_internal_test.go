package consul

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/safetext"
)

// A network error may quote a server, such as the names in a certificate. It is made fit to show, and keeps its type.
func TestWhyIsFitToShow(t *testing.T) {
	safetext.Hide("the-token")
	for text, want := range map[string]string{
		"valid for \x1b[31mhere":   `valid for \x1b[31mhere`,
		"\u202e the-token\r\n":     `\u202e (secret)`,
		strings.Repeat("x", 1<<20): strings.Repeat("x", maxExcerpt) + "…",
	} {
		if got := why(t.Context(), errors.New(text)).Error(); got != want {
			t.Errorf("%.40q is shown as %.300q, want %q", text, got, want)
		}
	}
	unknown := x509.UnknownAuthorityError{}
	if err := why(t.Context(), fmt.Errorf("%s: %w", strings.Repeat("x", 1<<20), unknown)); !errors.As(err, &unknown) {
		t.Errorf("the cause is lost: %v", err)
	}
	if err := why(t.Context(), io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an error that is fit to show became %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller's\nreason"))
	if err := why(ctx, io.EOF); !errors.Is(err, context.Canceled) {
		t.Errorf("the end of a context became %v, want context.Canceled in it", err)
	}
}

// A proxy that ends long waits shortens later ones. A wait that was too short to come from a proxy does not.
func TestLearn(t *testing.T) {
	s := &Store{}
	for _, step := range []struct{ ended, want time.Duration }{
		{29 * time.Second, time.Minute}, {time.Minute - time.Second, 53100 * time.Millisecond}, {10 * time.Second, 53100 * time.Millisecond},
		{40 * time.Second, 36 * time.Second},
	} {
		s.learn(step.ended)
		if got := s.allowed(time.Minute); got != step.want || s.allowed(time.Second) != time.Second {
			t.Errorf("after a wait that ended at %s: waits %s, want %s", step.ended, got, step.want)
		}
	}
}
