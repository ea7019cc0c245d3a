package bench

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// roundsEnv is how often a benchmark repeats what it compares.
const roundsEnv = "KVEXPRESS_BENCH_ROUNDS"

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// quantile is a quantile of sorted values: 0.5 is the middle, 1 the largest.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// middle is the median of values in any order.
func middle(v []float64) float64 { return quantile(slices.Sorted(slices.Values(v)), 0.5) }

// number is the value of an environment variable, or the usual one.
func number(b *testing.B, env string, usual int) int {
	b.Helper()
	text := os.Getenv(env)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s=%q: give a number above 0", env, text)
	}
	return n
}
