package gate

import (
	"fmt"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// Reason says in one stable word why content was refused. The words are a contract:
// they are in JSON and in metrics.
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
