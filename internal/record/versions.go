package record

import (
	"fmt"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// Version is one version of a key, without its bytes.
type Version struct {
	Number uint64 // 0: it has none, or damage hides it
	Live   bool   // it is the live version
	State  State
	// Why is the fault, for people. A live version can be whole with a fault: it is also in
	// history.
	Why string
	// Manifest is nil if there is none that can be read.
	Manifest *kv.Manifest
	// SHA256, Size and Lines are those of the bytes; if the bytes are not whole, those of the
	// manifest.
	SHA256 string
	Size   int64 // bytes
	Lines  int
}

// Content is one version with its verified bytes.
type Content struct {
	Version
	Plain    []byte
	Encoding Encoding // how it was stored while it was live
}

// VersionList lists the versions of a key in the store.
type VersionList struct {
	Key kv.Key
	// State of the live version. Absent: the key was deleted, and its history is
	// still there.
	State State
	// Lineage of the live version, or the one that a publish would continue; "" if neither
	// is known.
	Lineage string
	// Last is the number in the live manifest. If kvexpress 1.x wrote last, it wrote after
	// this version. 0: no manifest can be read.
	Last uint64
	// SHA256 of the live bytes; if they are damaged, the one in the manifest.
	SHA256  string
	Stopped *gate.Stopped // nil: the key is not stopped
	// Versions are the newest first: the live one, and those of its lineage that are kept.
	// After a restore, kept ones may be above the live one, as candidates and withdrawn ones are. Entries of a publish that was
	// cut off are left out: they were never live.
	Versions []Version
	Skipped  int // entries that were not read: there are far too many
}

// Live is the live version, if there is one.
func (l VersionList) Live() (Version, bool) {
	for _, v := range l.Versions {
		if v.Live {
			return v, true
		}
	}
	return Version{}, false
}

// Kept lists the numbers of the versions whose bytes can be had, newest first.
func (l VersionList) Kept() []uint64 {
	var kept []uint64
	for _, v := range l.Versions {
		if v.State.Whole() && v.Number > 0 {
			kept = append(kept, v.Number)
		}
	}
	return kept
}

// Before is the newest kept version before the live one; with other, the newest
// with other bytes. It returns a damaged one too, because to skip it would go
// back further than people expect: reading it is refused.
//
// The error is a *NotKept, or a *gate.Refusal if damage hides which version is live.
func (l VersionList) Before(other bool) (Version, error) {
	switch {
	case l.State == Absent:
		return Version{}, l.notKept("it was deleted; name a version")
	case l.Last == 0 && len(l.Kept()) > 0:
		return Version{}, &gate.Refusal{
			Reason: gate.Corrupt, Key: l.Key, Detail: "its manifest is damaged or missing, so the version before is unknown",
			Remedy: "name one that is whole: " + numbers(l.Kept()),
		}
	}
	newest := l.Last
	if live, _ := l.Live(); live.Manifest != nil && live.State != Unmanaged && live.Manifest.Previous > 0 {
		newest = live.Manifest.Previous // numbers in between are from before a restore
	}
	for _, v := range l.Versions {
		past := v.Number > 0 && v.Number <= newest && !v.Live &&
			!slices.Contains([]State{OtherLineage, Withdrawn, Candidate}, v.State)
		same := other && v.SHA256 == l.SHA256
		if past && !same {
			return v, nil
		}
	}
	what := "there is no version before the live one"
	if other {
		what = "there is no earlier version with other content"
	}
	if l.Skipped > 0 {
		what = fmt.Sprintf("%d entries of its history were not read; name a version", l.Skipped)
	}
	return Version{}, l.notKept(what)
}
