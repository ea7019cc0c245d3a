// Package history owns reading the past versions of a key: which there are, and
// the verified bytes of one. It writes nothing: a rollback is a publish. Of this
// module it imports kv, codec and gate.
//
// A publisher or a pruner may be at work beside a reader. So what is shown is of
// one moment as far as one request can tell, and an entry of which nothing is left
// is no longer kept; it is not damaged.
package history

import (
	"context"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// Reader reads the past versions of keys. It may be used concurrently.
type Reader struct {
	Store  kv.Store
	Layout kv.Layout
	// Wait waits for a writer of 1.x, until the time has passed or ctx ends, then
	// with its error. nil: a timer.
	Wait func(context.Context, time.Duration) error
}

// State tells whether the bytes of a version can be had. The words are stable.
type State string

// How whole a version is.
const (
	Whole        State = "whole"
	Damaged      State = "damaged"
	OtherLineage State = "other_lineage" // of a key that was made anew, or of somebody else's
	NeedsNewer   State = "needs_newer"   // a later kvexpress wrote it
)

// Version is one version of a key, without its bytes.
type Version struct {
	Number    uint64 // 0: it has none, or damage hides it
	Live      bool   // it is what stands
	Unmanaged bool   // kvexpress 1.x wrote it, or its manifest was removed
	State     State
	// Why is what is wrong, for people. A version can be whole all the same: the
	// live one has two places.
	Why string
	// Manifest is nil where there is none that can be read.
	Manifest *kv.Manifest
	// SHA256, Size and Lines are those of the bytes; of what is not whole, what its
	// manifest says.
	SHA256 string
	Size   int64 // bytes
	Lines  int
}

// Content is one version with its verified bytes.
type Content struct {
	Version
	Plain []byte
	// Encoding is how it was stored when it was live.
	Encoding record.Encoding
}

// List is what there is of a key.
type List struct {
	Key kv.Key
	// State is that of what stands. Absent: the key was deleted, and its history
	// is still there.
	State gate.State
	// Lineage is that of the live version, or the one that a publish would go on
	// with; "" where nothing tells.
	Lineage string
	// Last is the number in the live manifest: that of the live version, or of the
	// one after which kvexpress 1.x wrote. 0: there is no manifest to be read.
	Last uint64
	// SHA256 is that of the live bytes; of damaged ones, what the manifest says.
	SHA256  string
	Stopped *gate.Stopped // nil: it is not
	// Versions are the newest first: what stands, and what is kept of its lineage.
	// After a restore, kept ones may be above the live one. What a publish left when it
	// was cut off is not among them: it was never live.
	Versions []Version
	Skipped  int // entries that were not looked at, for there are far too many
	// Behind: publishers were quicker than the list, time and again. Versions right
	// before the live one are not in it.
	Behind bool
}

// Live is the version that stands, if one does.
func (l List) Live() (Version, bool) {
	for _, v := range l.Versions {
		if v.Live {
			return v, true
		}
	}
	return Version{}, false
}

// Kept lists the numbers of the versions whose bytes can be had, newest first.
func (l List) Kept() []uint64 {
	var kept []uint64
	for _, v := range l.Versions {
		if v.State == Whole && v.Number > 0 {
			kept = append(kept, v.Number)
		}
	}
	return kept
}

// Before is the newest kept version before the live one; with other, the newest
// whose bytes are not the live ones. It does not leave out a damaged one, for that
// would be another version than people expect: reading it is refused.
//
// The error is a *NotKept, a *gate.Refusal where damage hides which version stands,
// or is for a list that is Behind.
func (l List) Before(other bool) (Version, error) {
	switch {
	case l.Behind:
		return Version{}, fmt.Errorf("%s: others publish it quicker than its versions can be listed; name one, or run it again", l.Key)
	case l.State == gate.Absent:
		return Version{}, l.notKept("it was deleted, and none came before: name a version")
	case l.Last == 0 && len(l.Kept()) > 0:
		return Version{}, &gate.Refusal{
			Reason: gate.Corrupt, Key: l.Key, Detail: "its manifest is damaged or gone, and so it is not known which version came before",
			Remedy: "name one that is whole: " + spans(l.Kept()),
		}
	}
	newest := l.Last
	if live, _ := l.Live(); live.Manifest != nil && !live.Unmanaged && live.Manifest.Previous > 0 {
		newest = live.Manifest.Previous // numbers in between are from before a restore
	}
	for _, v := range l.Versions {
		past := v.Number > 0 && v.Number <= newest && !v.Live && v.State != OtherLineage
		same := other && v.SHA256 == l.SHA256
		if past && !same {
			return v, nil
		}
	}
	what := "no version before the live one is kept"
	if other {
		what = "no version with other bytes is kept before the live one"
	}
	return Version{}, l.notKept(what)
}
