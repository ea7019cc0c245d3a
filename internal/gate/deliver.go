package gate

import (
	"fmt"
	"strings"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// Locked is a file that is frozen on this node.
type Locked struct {
	File   string
	Reason string    // as it is stored: not safe to print, see Error
	Since  time.Time // when it was set, by the clock of whoever did; zero: not known
	Until  time.Time // when it ends by itself; zero: never
	Row    int       // which of the lock rows it was
	Index  uint64    // of that row
}

func (l *Locked) Error() string {
	until := ""
	if !l.Until.IsZero() {
		until = fmt.Sprintf(" (until %s)", l.Until.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s is locked: %s%s; `kvexpress unlock -f %s` lifts it", l.File, quoted(l.Reason), until, l.File)
}

// Missing is a key that the store does not have.
type Missing struct {
	Name string // the key, or the path of a raw value
	Raw  bool   // it is the path of a raw value
}

func (m *Missing) Error() string {
	if m.Raw {
		return fmt.Sprintf("%s: there is no such value in the store; check -k, which is a whole path", quoted(m.Name))
	}
	return fmt.Sprintf("%s: there is no such key in the store; publish it with `kvexpress in -k %[1]s -f FILE`, "+
		"or check -k and -p", m.Name)
}

// NotLocked gates one file by its lock rows. The flags of a lock say when it ends
// (kv.FreezeTimes). The error is a *Locked, or wraps kv.ErrDenied: a lock that may
// not be read is never taken for an absent one.
func NotLocked(file string, now time.Time, locks ...kv.Entry) error {
	for i, lock := range locks {
		since, until := kv.FreezeTimes(lock.Flags)
		over := !until.IsZero() && !now.Before(until)
		switch {
		case lock.State == kv.Denied:
			return fmt.Errorf("%s: its lock may not be read: %w", file, kv.ErrDenied)
		case lock.State == kv.Present && len(lock.Value) > 0 && !over:
			return &Locked{File: file, Reason: lock.Reason(), Since: since, Until: until, Row: i, Index: lock.Index}
		}
	}
	return nil
}

// Readable gates the rows of a key that a node must see, before anything else is
// concluded from them. The error wraps kv.ErrDenied.
func Readable(k kv.Key, rows ...kv.Entry) error {
	for _, row := range rows {
		if row.State == kv.Denied {
			return fmt.Errorf("%s: not all of its rows may be read: %w", k, kv.ErrDenied)
		}
	}
	return nil
}

// Claimed is the SHA-256 that checksum and manifest promise for the data of k,
// without a look at the data; "" if they promise nothing that could be relied on.
// The manifest is nil unless it speaks of those bytes. The error is a *Refusal
// (NeedsNewer).
func Claimed(k kv.Key, checksum, manifest kv.Entry) (string, *kv.Manifest, error) {
	sum := strings.TrimSpace(string(checksum.Value))
	if checksum.State != kv.Present || !kv.IsSHA256(sum) {
		sum = ""
	}
	if manifest.State != kv.Present {
		return sum, nil, nil
	}
	// The data is not known here; an absent row stands for it.
	s, err := Examine(k, kv.Entry{State: kv.Absent}, checksum, manifest)
	if err != nil {
		return "", nil, err
	}
	if s.Manifest != nil && s.Manifest.SHA256 != sum {
		return sum, nil, nil // kvexpress 1.x wrote last
	}
	return sum, s.Manifest, nil
}

// Deliverable gates what stands in the store before a node installs it: whole,
// not empty, long enough. The error is a *Missing or a *Refusal.
func Deliverable(k kv.Key, s Standing, minLines int) error {
	switch {
	case s.State == Absent:
		return &Missing{Name: string(k)}
	case s.SHA256 == "" && s.Torn:
		return &Refusal{
			Reason: Mismatch, Key: k, Detail: s.Why,
			Remedy: Again(k) + "; the file is left as it is",
		}
	case s.SHA256 == "":
		return &Refusal{
			Reason: Corrupt, Key: k, Detail: s.Why,
			Remedy: Again(k) + "; the file is left as it is",
		}
	}
	return LongEnough(k, len(s.Plain), record.Lines(s.Plain), minLines)
}

// LongEnough gates delivered content by its size in bytes and its lines. The
// error is a *Refusal.
func LongEnough(k kv.Key, size, lines, minLines int) error {
	switch {
	case size == 0:
		return &Refusal{
			Reason: Empty, Key: k, Detail: "its content is empty",
			Remedy: Again(k) + "; the file is left as it is",
		}
	case lines < minLines:
		return &Refusal{
			Reason: TooShort, Key: k,
			Detail: fmt.Sprintf("it has %s, at least %d are asked for", countLines(lines), minLines),
			Remedy: "publish a longer one, or ask for fewer with -l; the file is left as it is",
		}
	}
	return nil
}

// Older reports whether version b of a key is older than version a, which
// only two versions of one lineage can be.
func Older(lineageA string, versionA uint64, b *kv.Manifest) bool {
	return b != nil && lineageA != "" && b.Lineage == lineageA && b.Version < versionA
}
