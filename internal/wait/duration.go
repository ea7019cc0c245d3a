package wait

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration is time.ParseDuration with weeks and days, which come first, as in 1w or 1d12h. A day has 24 hours.
func ParseDuration(s string) (time.Duration, error) {
	const day, mostDays = 24 * time.Hour, 36_500
	rest, days := s, int64(0)
	for _, unit := range []struct {
		name string
		days int64
	}{{"w", 7}, {"d", 1}} {
		number, after, found := strings.Cut(rest, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if days += int64(n) * unit.days; err != nil || days > mostDays {
			return 0, fmt.Errorf("%q is not a duration: use whole weeks and days, up to %d days", s, mostDays)
		}
		rest = after
	}
	if rest == "" && s != "" {
		rest = "0"
	}
	d, err := time.ParseDuration(rest)
	if err != nil || rest != s && (d < 0 || rest[0] == '+' || d > mostDays*day) {
		return 0, fmt.Errorf("%q is not a duration such as 30s, 5m or 1d", s)
	}
	return time.Duration(days)*day + d, nil
}
