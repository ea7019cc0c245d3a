package gate

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// ErrMessage is a message that no manifest may carry.
var ErrMessage = errors.New("the message is not allowed")

// Content gates the plain bytes that are to be published: not empty, at most
// record.MaxPlain bytes, at least minLines lines as record.Lines counts (0: any
// number). The error is a *Refusal.
func Content(k kv.Key, plain []byte, minLines int) error {
	if len(plain) == 0 {
		return &Refusal{Reason: Empty, Key: k, Detail: "the content is empty", Remedy: "check its source"}
	}
	if len(plain) > record.MaxPlain {
		return &Refusal{
			Reason: TooLarge, Key: k,
			Detail: fmt.Sprintf("it has %d bytes, at most %d are allowed", len(plain), record.MaxPlain),
			Remedy: "split the file",
		}
	}
	if lines := record.Lines(plain); lines < minLines {
		return &Refusal{
			Reason: TooShort, Key: k,
			Detail: fmt.Sprintf("it has %s, at least %d are asked for", countLines(lines), minLines),
			Remedy: "check its source, or ask for fewer with -l",
		}
	}
	return nil
}

// StoredSize gates the size in bytes of the content as it is stored, encoded
// with e: at most kv.MaxStored. The error is a *Refusal, which names the encoding that
// fits, if there is one.
func StoredSize(k kv.Key, plain, stored []byte, e record.Encoding) error {
	if len(stored) <= kv.MaxStored {
		return nil
	}
	r := &Refusal{
		Reason: TooLarge, Key: k, Remedy: "split the file",
		Detail: fmt.Sprintf("it has %d bytes as %s, at most %d fit into one transaction", len(stored), e, kv.MaxStored),
	}
	for _, other := range []struct {
		encoding record.Encoding
		flag     string
	}{{record.Zstd, "--encoding zstd"}, {record.Brotli, "-z"}} { // 1.x can read the last one
		if other.encoding == e {
			continue
		}
		if packed, err := record.Encode(other.encoding, plain); err == nil && len(packed) <= kv.MaxStored {
			r.Remedy = fmt.Sprintf("with %s it has %d bytes, and fits", other.flag, len(packed))
		}
	}
	return r
}

// Message gates the message of a version: valid UTF-8, at most kv.MaxMessage
// bytes, and nothing in it that moves a cursor or turns the direction of
// writing. The error wraps ErrMessage.
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

// Author makes a text fit for a manifest's "by": what Message refuses is
// dropped, and what is over kv.MaxBy bytes is cut.
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

// NotStopped gates a key's stop row: one with a value freezes the key. The
// error is a *Stopped. The row must not be Denied.
func NotStopped(k kv.Key, stop kv.Entry) error {
	if stop.State == kv.Present && len(stop.Value) > 0 {
		since, _ := kv.FreezeTimes(stop.Flags) // a stop never ends by itself
		return &Stopped{Key: k, Reason: stop.Reason(), Since: since, Index: stop.Index}
	}
	return nil
}

// Nested is the refusal of a key because of an existing one above or below it.
// The error is a *kv.NameError.
func Nested(k, existing kv.Key) error {
	reason := fmt.Sprintf("it is nested in the existing key %q; choose a name outside of it", existing)
	if strings.HasPrefix(string(existing), string(k)+"/") {
		reason = fmt.Sprintf("the existing key %q is nested in it; choose another name", existing)
	}
	return &kv.NameError{What: "key", Name: string(k), Reason: reason}
}

// KeyBelow finds a key that is nested in k among the paths below k's folder.
func KeyBelow(l kv.Layout, k kv.Key, paths []string) (kv.Key, bool) {
	for _, path := range paths {
		rest, ok := strings.CutPrefix(path, l.Prefix()+"/")
		cut := strings.LastIndexByte(rest, '/')
		if !ok || cut < 0 {
			continue
		}
		switch rest[cut+1:] {
		case "data", "checksum", "manifest":
		default:
			continue
		}
		// ParseKey leaves out what is not a key: k's own reserved folders.
		below, err := kv.ParseKey(rest[:cut])
		if err == nil && strings.HasPrefix(string(below), string(k)+"/") {
			return below, true
		}
	}
	return "", false
}
