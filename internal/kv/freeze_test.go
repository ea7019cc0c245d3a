package kv

import (
	"math"
	"testing"
	"time"
)

// The packing is a contract: rows of other versions are read by it.
func TestFreezeFlags(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	for name, test := range map[string]struct {
		since, until time.Time
		flags        uint64
		bad          bool
	}{
		"as 1.x":                      {},
		"since alone":                 {since: at(1_700_000_000), flags: 1_700_000_000 << 32},
		"until alone, as rows had it": {until: at(2_000_000_000), flags: 2_000_000_000},
		"both":                        {since: at(1), until: at(2), flags: 1<<32 | 2},
		"parts of a second":           {since: time.Unix(1, 999), until: time.Unix(2, 999), flags: 1<<32 | 2},
		"the last moment":             {since: MaxFreeze(), until: MaxFreeze(), flags: math.MaxUint64},
		"a clock beyond":              {since: MaxFreeze().Add(time.Second), until: at(2), flags: 2},
		"a clock before":              {since: at(-1), until: at(2), flags: 2},
		"an end beyond":               {since: at(1), until: MaxFreeze().Add(time.Second), flags: 1 << 32, bad: true},
		"an end before":               {since: at(1), until: at(-1), flags: 1 << 32, bad: true},
		"an end that would be never":  {since: at(1), until: at(0), flags: 1 << 32, bad: true},
	} {
		flags, ok := FreezeFlags(test.since, test.until)
		if flags != test.flags || ok == test.bad {
			t.Errorf("%s: %#x, %t", name, flags, ok)
		}
	}
}

func FuzzFreezeTimes(f *testing.F) {
	f.Add(uint64(0))
	f.Add(uint64(2_000_000_000))
	f.Add(uint64(1_700_000_000<<32 | 1_700_003_600))
	f.Add(uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, flags uint64) {
		since, until := FreezeTimes(flags)
		if since.IsZero() != (flags>>32 == 0) || until.IsZero() != (uint32(flags) == 0) {
			t.Errorf("%#x is %v and %v", flags, since, until)
		}
		if again, ok := FreezeFlags(since, until); !ok || again != flags {
			t.Errorf("%#x comes back as %#x, %t", flags, again, ok)
		}
	})
}
