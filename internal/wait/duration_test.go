package wait

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"1d": day, "2w": 14 * day, "1w1d": 8 * day, "1d12h30m": 36*time.Hour + 30*time.Minute, "0d": 0, "36500d": 36500 * day,
		"90m": 90 * time.Minute, "0": 0, "-3s": -3 * time.Second, "1.5h": 90 * time.Minute, "300ms": 300 * time.Millisecond,
	} {
		if got, err := ParseDuration(s); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "d", "1", "1d1", "-1d", "1d-3h", "1d+3h", "1h1d", "1d1w", "1d1d", "1.5d", "36501d", "99999999999d",
		"1w99999999h", " 1d", "1 d", "1D", "1y"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}
