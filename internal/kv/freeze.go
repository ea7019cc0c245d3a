package kv

import (
	"math"
	"time"

	"kvexpress/internal/safetext"
)

// MaxReason limits the reason of a stop or a lock, in bytes. A longer one in the store is cut.
const MaxReason = 512

// Reason returns the reason of a stop or a lock from its row; "" means not stopped or locked. It is not safe to print.
func (e Entry) Reason() string { return safetext.Cut(string(e.Value), MaxReason) }

// MaxFreeze is the latest time that the flags of a stop or a lock can hold.
func MaxFreeze() time.Time { return time.Unix(math.MaxUint32, 0) }

// FreezeFlags encodes the times of a stop or a lock into the flags of its row: since<<32 | until, both in whole Unix seconds,
// unsigned 32 bits (1970 to MaxFreeze, in 2106). The zero time is 0, which means "unknown" for since and "no end" for until. 1.x
// ignores flags and writes 0. A since that does not fit becomes unknown. An until that does not fit makes ok false.
//
// A stop has no end: its until is 0, and ignored.
func FreezeFlags(since, until time.Time) (flags uint64, ok bool) {
	set, _ := freezeSeconds(since)
	end, ok := freezeSeconds(until)
	return set<<32 | end, ok
}

// FreezeTimes is the inverse of FreezeFlags. Both times come from the clock of the machine that set the row, which may be wrong.
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
