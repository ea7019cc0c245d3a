package kv

import (
	"math"
	"time"

	"kvexpress/internal/safetext"
)

// MaxReason is the longest reason of a stop or a lock, in bytes. Of a longer one in the
// store, the beginning is read.
const MaxReason = 512

// Reason is why a key is stopped or a file is locked, by its row: not safe to print. "": it
// is not.
func (e Entry) Reason() string { return safetext.Cut(string(e.Value), MaxReason) }

// MaxFreeze is the last moment that the flags of a stop or a lock can hold.
func MaxFreeze() time.Time { return time.Unix(math.MaxUint32, 0) }

// FreezeFlags packs when a stop or a lock was set, and when it ends by itself,
// into the flags of its row: since<<32 | until, both in Unix seconds, 32 bits
// without a sign (1970 to MaxFreeze, in 2106). 0 is "not known" for since and
// "never" for until, as the zero times are; kvexpress 1.x ignores flags and writes
// 0. Parts of a second are dropped. A since that does not fit is not known; an
// until that does not fit is none of these, and ok is false.
//
// A stop never ends by itself: its until is 0, and ignored.
func FreezeFlags(since, until time.Time) (flags uint64, ok bool) {
	set, _ := freezeSeconds(since)
	end, ok := freezeSeconds(until)
	return set<<32 | end, ok
}

// FreezeTimes is the inverse of FreezeFlags. Both times come from the clock of
// whoever set the row: they may be off, and in the future.
func FreezeTimes(flags uint64) (since, until time.Time) {
	return freezeTime(flags >> 32), freezeTime(flags & math.MaxUint32)
}

func freezeSeconds(t time.Time) (seconds uint64, ok bool) {
	if t.IsZero() {
		return 0, true
	}
	if s := t.Unix(); s > 0 && s <= math.MaxUint32 {
		return uint64(s), true
	}
	return 0, false
}

func freezeTime(seconds uint64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
