package consul

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The reported skew is never larger than the real one, and less than a second smaller. After the clock was set, this holds again with the next
// answer, except that a change of less than a second may be reported as skew.
func TestClockOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Store
		if _, ok := s.Offset(); ok {
			t.Fatal("something is known before the first answer")
		}
		asked := time.Now()
		for _, set := range []bool{false, true} {
			off := time.Duration(rapid.Int64Range(-1e14, 1e14).Draw(t, "off"))
			if rapid.Bool().Draw(t, "a little") {
				off /= 1e5
			}
			for range 20 {
				asked = asked.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "pause")) * time.Millisecond)
				way := time.Duration(rapid.IntRange(1, 20).Draw(t, "way")) * time.Millisecond
				blocks := time.Duration(rapid.SampledFrom([]int{0, 0, 60}).Draw(t, "blocks")) * time.Second
				date := asked.Add(way + blocks - off).UTC().Format(http.TimeFormat)
				came := asked.Add(2*way + blocks)
				s.clock.note(asked, came, date)
				s.clock.note(asked, came, "")
				got, ok := s.Offset()
				if !ok || !set && (got.Abs() > off.Abs() || got != 0 && (got > 0) != (off > 0)) ||
					blocks == 0 && (got-off).Abs() > time.Second+2*way {
					t.Fatalf("off by %v is said to be %v, %t", off, got, ok)
				}
				asked = came
			}
		}
	})
}

// Answers at other parts of a second leave open less.
func TestClockOffsetOfManyAnswers(t *testing.T) {
	var s Store
	const off = 1234 * time.Millisecond
	asked := time.Now()
	for range 100 {
		asked = asked.Add(1013 * time.Millisecond)
		s.clock.note(asked, asked.Add(time.Millisecond), asked.Add(-off).UTC().Format(http.TimeFormat))
	}
	if got, ok := s.Offset(); !ok || (got-off).Abs() > 50*time.Millisecond {
		t.Errorf("off by %v is said to be %v, %t", off, got, ok)
	}
}
