package gate

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// ErrMessage is a message that is not allowed in a manifest.
var ErrMessage = errors.New("the message is not allowed")

// Publishable decides whether content of so many bytes and lines may be published (0: any
// number of lines). The error is a *Refusal.
func Publishable(k kv.Key, size, lines, minLines int) error {
	return tooSmall(k, size, lines, minLines, "check its source", "check its source, or lower the minimum with -l")
}

// tooSmall refuses empty and short content, each with its remedy.
func tooSmall(k kv.Key, size, lines, minLines int, empty, short string) error {
	switch {
	case size == 0:
		return &Refusal{Reason: Empty, Key: k, Detail: "the content is empty", Remedy: empty}
	case lines < minLines:
		return &Refusal{Reason: TooShort, Key: k, Remedy: short,
			Detail: fmt.Sprintf("%s; minimum is %d (-l)", countLines(lines), minLines)}
	}
	return nil
}

// Message refuses a message that is not valid UTF-8, has over kv.MaxMessage bytes, or has
// control characters or changes of the text direction. The error wraps ErrMessage.
func Message(m string) error {
	if len(m) > kv.MaxMessage {
		return fmt.Errorf("%w: it has %d bytes, at most %d are kept", ErrMessage, len(m), kv.MaxMessage)
	}
	if !utf8.ValidString(m) {
		return fmt.Errorf("%w: it is not valid UTF-8", ErrMessage)
	}
	if i := strings.IndexFunc(m, unprintable); i >= 0 {
		return fmt.Errorf("%w: it has a control character at byte %d; write it in one line", ErrMessage, i)
	}
	return nil
}

// Author is a text for a manifest's "by": characters that Message refuses are dropped, and the text is cut to kv.MaxBy bytes.
func Author(by string) string {
	by = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(by, ""))
	if len(by) > kv.MaxBy {
		by = strings.ToValidUTF8(by[:kv.MaxBy], "")
	}
	return by
}

func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// NotStopped refuses a key whose stop row has a value. The error is a *Stopped, or wraps
// kv.ErrDenied: a stop that cannot be read is never taken for an absent one.
func NotStopped(k kv.Key, stop kv.Entry) error {
	if stop.State == kv.Denied {
		return fmt.Errorf("%s: its stop cannot be read: %w", k, kv.ErrDenied)
	}
	if stop.State == kv.Present && len(stop.Value) > 0 {
		since, _ := kv.FreezeTimes(stop.Flags) // a stop never ends by itself
		return &Stopped{Key: k, Reason: stop.Reason(), Since: since, Index: stop.Index}
	}
	return nil
}

// Nested is the refusal of a key because of an existing one above or below it. The error is a *kv.NameError.
func Nested(k, existing kv.Key) error {
	reason := fmt.Sprintf("it is nested in the existing key %q; choose another name", existing)
	if strings.HasPrefix(string(existing), string(k)+"/") {
		reason = fmt.Sprintf("the existing key %q is nested in it; choose another name", existing)
	}
	return &kv.NameError{What: "key", Name: string(k), Reason: reason}
}

// KeyBelow finds a key that is nested in k among the paths below k's folder.
func KeyBelow(l kv.Layout, k kv.Key, paths []string) (kv.Key, bool) {
	for _, path := range paths {
		below, row, ok := l.KeyOf(path)
		exists := row == "data" || row == "checksum" || row == "manifest"
		if ok && exists && strings.HasPrefix(string(below), string(k)+"/") {
			return below, true
		}
	}
	return "", false
}
