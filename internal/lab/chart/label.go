package chart

import "slices"

// box is a place that a text takes.
type box struct{ left, top, right, bottom float64 }

func (b box) overlaps(o box) bool {
	return b.left < o.right && o.left < b.right && b.top < o.bottom && o.top < b.bottom
}

func (b box) free(others []box) bool { return !slices.ContainsFunc(others, b.overlaps) }

// flag is a mark's line, and where its text stands.
type flag struct {
	x      float64
	text   string // none where there is no room
	full   string
	anchor string
	lane   int
}

// Texts of marks stand above the dots, in as many lanes as they need, up to the
// most that are worth their room.
const (
	laneHeight = 15.0
	mostLanes  = 5
	flagSize   = 11.5
)

// placeMarks puts the text of each mark into the lowest lane where it has room. Of
// those whose texts go to the right the last is the first, of those at the right
// edge, whose texts go to the left, the first: so no line, on its way to a higher
// lane, crosses a text before it. It returns the number of lanes.
func placeMarks(marks []Mark, x scale) (flags []flag, lanes int) {
	var rightwards, leftwards []flag
	for _, m := range slices.SortedStableFunc(slices.Values(marks), func(a, b Mark) int { return a.At.Compare(b.At) }) {
		f := flag{x: x.moment(m.At), text: cut(m.Text, 60), full: m.Text, anchor: "start"}
		if f.box().right <= width-4 {
			rightwards = append(rightwards, f)
			continue
		}
		f.anchor = "end"
		leftwards = append(leftwards, f)
	}
	slices.Reverse(rightwards)

	var texts, lines []box
	for _, f := range append(rightwards, leftwards...) {
		if f.lane = laneOf(f.box(), texts, lines); f.lane < 0 {
			f.text, f.lane = "", 0
		} else {
			texts = append(texts, f.box().inLane(f.lane))
			lines = append(lines, box{f.x - 3, 0, f.x + 3, float64(f.lane)})
			lanes = max(lanes, f.lane+1)
		}
		flags = append(flags, f)
	}
	return flags, lanes
}

// box is the room of the flag's text in lane 0. Lanes are counted upwards.
func (f flag) box() box {
	wide := textWidth(f.text, flagSize) + 12
	if f.anchor == "end" {
		return box{f.x - wide, 0, f.x + 4, 1}
	}
	return box{f.x - 4, 0, f.x + wide, 1}
}

func (b box) inLane(lane int) box { return box{b.left, float64(lane), b.right, float64(lane) + 1} }

// laneOf is the lane for a text, -1 if there is none. At worst a line crosses it.
func laneOf(text box, texts, lines []box) int {
	crossed := -1
	for lane := range mostLanes {
		b := text.inLane(lane)
		if !b.free(texts) {
			continue
		}
		if b.free(lines) {
			return lane
		}
		if crossed < 0 {
			crossed = lane
		}
	}
	return crossed
}

// drawMarks draws the marks: lanes are counted from the dots upwards.
func drawMarks(p *page, flags []flag, top float64) {
	for _, f := range flags {
		y := top - 6 - float64(f.lane)*laneHeight
		p.raw("<g><title>")
		p.escaped(f.full, 300)
		p.raw("</title>\n")
		up := top
		if f.text != "" {
			up = y - 9
		}
		p.line(f.x, up, f.x, height-bottom, "d")
		at := f.x + 5
		if f.anchor == "end" {
			at = f.x - 5
		}
		p.text(at, y, `class="m" text-anchor="`+f.anchor+`"`, f.text)
		p.raw("</g>\n")
	}
}
