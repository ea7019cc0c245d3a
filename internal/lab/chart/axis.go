package chart

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// scale turns seconds into coordinates, on a line or by their logarithms.
type scale struct {
	low, high float64 // in seconds
	from, to  float64 // the coordinates of low and high
	log       bool
	zero      time.Time // of a scale of moments: the second 0
	ticks     []tick
}

// tick is a line of the grid, and what stands beside it.
type tick struct {
	at   float64 // in seconds
	text string  // none: a fine line
}

// at is the coordinate. What is outside stands at the edge.
func (s scale) at(seconds float64) float64 {
	v := min(max(seconds, s.low), s.high)
	low, high := s.low, s.high
	if s.log {
		v, low, high = math.Log(v), math.Log(low), math.Log(high)
	}
	return s.from + (v-low)/(high-low)*(s.to-s.from)
}

// moment is the coordinate of a moment.
func (s scale) moment(t time.Time) float64 { return s.at(t.Sub(s.zero).Seconds()) }

// across is the scale of the moments: from the start to the last dot or mark, or
// from before the start, if some are.
func (c Chart) across() scale {
	zero := c.start()
	first, last := 0.0, 1.0
	see := func(t time.Time) {
		s := t.Sub(zero).Seconds()
		first, last = min(first, s), max(last, s)
	}
	for _, d := range c.Dots {
		see(d.At)
	}
	for _, m := range c.Marks {
		see(m.At)
	}
	margin := (last - first) * 0.015 // so that no dot is on the edge
	s := scale{low: first - margin, high: last + margin, from: left, to: width - right, zero: zero}
	step := round(s.high-s.low, 9)
	for i := int(math.Ceil(s.low / step)); float64(i)*step <= s.high; i++ {
		at := math.Round(float64(i)*step*1e6) / 1e6
		s.ticks = append(s.ticks, tick{at: at, text: strconv.FormatFloat(at, 'f', -1, 64)})
	}
	return s
}

// round is the step of 1, 2 or 5 times a power of ten that makes at most so many
// of a length.
func round(length float64, most int) float64 {
	power := math.Pow(10, math.Floor(math.Log10(length/float64(most))))
	for _, m := range []float64{1, 2, 5} {
		if length/(m*power) <= float64(most) {
			return m * power
		}
	}
	return 10 * power
}

// lowest is the shortest time that is told apart.
const lowest = 1e-6

// upwards is the scale of the times: at least a power of ten, from a tick of 1, 2
// or 5 under the shortest to one above the longest.
func upwards(dots []Dot, top float64) scale {
	low, high := 0.01, 1.0
	if len(dots) > 0 {
		low, high = math.Inf(1), 0
	}
	for _, d := range dots {
		took := max(d.Took.Seconds(), lowest)
		low, high = min(low, took), max(high, took)
	}
	all := series()
	// A little beyond, so that no dot lies on the edge.
	first := max(0, last(all, func(v float64) bool { return v < low/1.05 }))
	end := min(len(all)-1, last(all, func(v float64) bool { return v <= high*1.05 })+1)
	for end-first < 3 {
		if end < len(all)-1 {
			end++
		}
		if end-first < 3 && first > 0 {
			first--
		}
	}
	s := scale{low: all[first], high: all[end], from: height - bottom, to: top, log: true}
	for i := first; i <= end; i++ {
		t := tick{at: all[i]}
		if few := end-first <= 12; few || i%3 == 0 { // i%3 == 0: the powers of ten
			t.text = tickText(all[i])
		}
		s.ticks = append(s.ticks, t)
	}
	return s
}

// series are all ticks of times, in seconds: 1, 2, 5 and so on, from a
// microsecond to more than a time.Duration can be.
func series() []float64 {
	var all []float64
	for power := -6; power <= 10; power++ {
		for _, m := range []float64{1, 2, 5} {
			v, _ := strconv.ParseFloat(strconv.FormatFloat(m, 'f', 0, 64)+"e"+strconv.Itoa(power), 64) // exact, and always a number
			all = append(all, v)
		}
	}
	return all
}

// last is the place of the last that is so, or -1.
func last(all []float64, is func(float64) bool) int {
	i := slices.IndexFunc(all, func(v float64) bool { return !is(v) })
	if i < 0 {
		return len(all) - 1
	}
	return i - 1
}

func tickText(s float64) string {
	switch {
	case s < 0.9e-3:
		return strconv.FormatFloat(math.Round(s*1e6), 'f', -1, 64) + " µs"
	case s < 0.9:
		return strconv.FormatFloat(math.Round(s*1e3), 'f', -1, 64) + " ms"
	default:
		return strconv.FormatFloat(s, 'f', -1, 64) + " s"
	}
}

// drawGrid draws the lines of the ticks, and what stands beside them.
func drawGrid(p *page, x, y scale, top float64) {
	for _, t := range x.ticks {
		at := x.at(t.at)
		p.line(at, top, at, height-bottom, "g")
		p.text(at, height-bottom+18, `class="k" text-anchor="middle"`, t.text)
	}
	for i, t := range y.ticks {
		at, class := y.at(t.at), "g"
		if i == 0 {
			class = "h"
		}
		p.line(left, at, width-right, at, class)
		p.text(left-8, at+4, `class="k" text-anchor="end"`, t.text)
	}
}
