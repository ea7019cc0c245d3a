package gate

import (
	"fmt"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// Reason says in one stable word why content was refused. The words are a contract: they are in JSON and in metrics.
type Reason string

// Why content is refused, by a publisher or by a node.
const (
	Empty       Reason = "empty"        // no bytes at all
	TooShort    Reason = "too_short"    // fewer lines than the minimum
	TooLarge    Reason = "too_large"    // over a limit in bytes
	Changing    Reason = "changing"     // its file is being rewritten
	Changed     Reason = "changed"      // too different from the live version
	Mismatch    Reason = "mismatch"     // the bytes do not match the checksum
	Corrupt     Reason = "corrupt"      // the bytes or the manifest cannot be read
	NoMessage   Reason = "no_message"   // the key's policy requires a message
	CheckFailed Reason = "check_failed" // the node's check command failed
	NotText     Reason = "not_text"     // sorting needs text in UTF-8
	NeedsNewer  Reason = "needs_newer"  // a later kvexpress wrote it
	WentBack    Reason = "older"        // the store went back, and the target refuses that
)

// Refusal is content that is not published or not installed.
type Refusal struct {
	Reason Reason
	Key    kv.Key  // "" if no key is known
	Detail string  // the fault, with numbers: "3 lines; minimum is 10 (-l)"
	Remedy string  // what to do; "" if nothing helps
	Err    error   // the cause, such as a check that failed; nil if there is none
	Change *Change // for Changed
}

func (r *Refusal) Unwrap() error { return r.Err }

func (r *Refusal) Error() string {
	s := "refused: " + r.Detail
	if r.Key != "" {
		s = fmt.Sprintf("%s is refused: %s", r.Key, r.Detail)
	}
	if r.Remedy != "" {
		s += "; " + r.Remedy
	}
	return s
}

// Again is the remedy for content that is damaged in the store.
func Again(k kv.Key) string {
	return fmt.Sprintf("publish it again with `kvexpress in -k %s -f FILE`", k)
}

// Stopped is a key that is frozen in the whole fleet.
type Stopped struct {
	Key    kv.Key
	Reason string    // as it is stored: not safe to print, see Error
	Since  time.Time // when it was set, by the clock of the machine that set it; zero: unknown
	Index  uint64    // of the row
}

func (s *Stopped) Error() string {
	return fmt.Sprintf("%s is stopped: %s; to undo: `kvexpress resume -k %s`", s.Key, quoted(s.Reason), s.Key)
}

// quoted is a text from the store for people.
func quoted(s string) string { return `"` + safetext.Line(s, 0) + `"` }

func countLines(n int) string {
	if n == 1 {
		return "1 line"
	}
	return fmt.Sprintf("%d lines", n)
}

// Locked is a file that is frozen on this node.
type Locked struct {
	File   string
	Reason string    // as it is stored: not safe to print, see Error
	Since  time.Time // when it was set, by the clock of the machine that set it; zero: unknown
	Until  time.Time // when it ends by itself; zero: never
	Row    int       // which of the lock rows
	Index  uint64    // of that row
}

func (l *Locked) Error() string {
	until := ""
	if !l.Until.IsZero() {
		until = fmt.Sprintf(" (until %s)", l.Until.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s is locked: %s%s; to undo: `kvexpress unlock -f %s`", l.File, quoted(l.Reason), until, l.File)
}

// Missing is a key that the store does not have.
type Missing struct {
	Name string // the key, or the path of a raw value
	Raw  bool   // it is the path of a raw value
}

func (m *Missing) Error() string {
	if m.Raw {
		return fmt.Sprintf("%s: the store has no such value; check -k, which is a whole path", quoted(m.Name))
	}
	return fmt.Sprintf("%s: the store has no such key; publish it with `kvexpress in -k %[1]s -f FILE`, "+
		"or check the key (-k) and the prefix (-p)", m.Name)
}

// NotLocked refuses a file with a lock that has not expired. The flags of a lock tell when it ends (kv.FreezeTimes). The error is
// a *Locked, or wraps kv.ErrDenied: a lock that cannot be read is never taken for an absent one.
func NotLocked(file string, now time.Time, locks ...kv.Entry) error {
	for i, lock := range locks {
		since, until := kv.FreezeTimes(lock.Flags)
		over := !until.IsZero() && !now.Before(until)
		switch {
		case lock.State == kv.Denied:
			return fmt.Errorf("%s: its lock cannot be read: %w", file, kv.ErrDenied)
		case lock.State == kv.Present && len(lock.Value) > 0 && !over:
			return &Locked{File: file, Reason: lock.Reason(), Since: since, Until: until, Row: i, Index: lock.Index}
		}
	}
	return nil
}

// Readable refuses a key with a row that is Denied: nothing can be concluded from the others then. The error wraps kv.ErrDenied.
func Readable(k kv.Key, rows ...kv.Entry) error {
	for _, row := range rows {
		if row.State == kv.Denied {
			return fmt.Errorf("%s: not all of its rows can be read: %w", k, kv.ErrDenied)
		}
	}
	return nil
}

// LongEnough decides whether a node may install content of so many bytes and lines. The error is a *Refusal.
func LongEnough(k kv.Key, size, lines, minLines int) error {
	const kept = "; the file stays as it is"
	return tooSmall(k, size, lines, minLines, Again(k)+kept, "publish a longer one, or lower the minimum with -l"+kept)
}

// Older reports whether version b of a key is older than version a: only versions of one lineage can be compared.
func Older(lineageA string, versionA uint64, b *kv.Manifest) bool {
	return b != nil && lineageA != "" && b.Lineage == lineageA && b.Version < versionA
}
