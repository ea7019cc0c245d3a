// Package chart draws how long each change took to reach each node: one dot for a
// node and a change, as a picture in SVG that stands by itself.
//
//	chart     what is drawn, and in which order
//	axis      scales and their ticks
//	shape     the groups' colours and shapes
//	legend    how many, p50 and p99 of each group
//	label     texts of marks, which must not lie on each other
//	slow      the nodes that stand out, and their names
//	page      elements and escaped texts
//
// It imports nothing of this module.
package chart

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"
)

// Dot is one node that has answered with one change.
type Dot struct {
	Node string
	// Group is what the node runs, such as "watch" or "agent". Dots of a group have
	// one colour and shape, and figures of their own in the legend. Up to six groups
	// are told apart by their colours alone.
	Group string
	// At is when the change was made: where the dot stands from left to right.
	At time.Time
	// Took is the time from then until the node's answer: how high it stands. What is
	// under a microsecond stands with a microsecond.
	Took time.Duration
}

// Mark is a moment at which something happened to the fleet, such as "node-07 is
// slowed": a vertical line.
type Mark struct {
	At   time.Time
	Text string
}

// Chart is the picture. All texts may be anything; long ones are cut.
type Chart struct {
	Title, Subtitle string
	// X and Y say what the axes show. Those of the lab, if empty.
	X, Y string
	// Start is the second 0 of the picture: the first change. The first dot, if zero.
	Start time.Time
	Dots  []Dot
	Marks []Mark
}

// The picture's size, and the room around what is drawn, in units of the view box.
const (
	width, height = 1000.0, 520.0
	left, right   = 90.0, 24.0
	bottom        = 56.0
	edge          = 24.0 // of the titles and the legend
)

// Write writes the picture: SVG without scripts, fonts or anything from elsewhere.
// The same chart gives the same bytes. The error is the writer's.
func (c Chart) Write(w io.Writer) error {
	p := newPage(w)
	groups := groupsOf(c.Dots)
	c.begin(p, groups)
	top := c.legend(p, groups, 74)

	x := c.across()
	flags, lanes := placeMarks(c.Marks, x)
	top += 12 + float64(lanes)*laneHeight
	y := upwards(c.Dots, top)

	drawGrid(p, x, y, top)
	c.axisNames(p, top)
	drawMarks(p, flags, top)
	for _, g := range groups {
		drawDots(p, g, len(c.Dots), x, y)
	}
	labelSlow(p, c.Dots, groups, x, y, top)
	if len(c.Dots) == 0 {
		p.text((left+width-right)/2, (top+height-bottom)/2, `class="b" text-anchor="middle"`, "nothing was measured")
	}
	p.raw("</svg>\n")
	return p.end()
}

// begin writes the head: what programs read aloud, the styles, and the titles.
func (c Chart) begin(p *page, groups []group) {
	p.raw(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 520" width="1000" height="520" role="img"`)
	p.raw(` font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Helvetica, Arial, sans-serif">` + "\n<title>")
	p.escaped(c.Title, 200)
	p.raw("</title>\n<desc>")
	p.escaped(c.Subtitle, 500)
	for _, g := range groups {
		p.raw(" ")
		p.escaped(g.name+": "+g.figures()+".", 200)
	}
	p.raw("</desc>\n<style>text{fill:#1f2933;font-size:12px}.t{font-size:21px;font-weight:600}.b{font-size:13.5px;fill:#52606d}" +
		".k{fill:#616e7c}.m{fill:#52606d;font-size:11.5px}.g{stroke:#e4e7eb}.h{stroke:#cbd2d9}.d{stroke:#7b8794;stroke-dasharray:4 3}" +
		".n{font-weight:600;stroke:#fff;stroke-width:3.5px;stroke-linejoin:round;paint-order:stroke}</style>\n")
	p.raw(`<rect width="1000" height="520" fill="#fff"/>` + "\n")
	p.text(edge, 34, `class="t"`, cut(c.Title, 80))
	p.text(edge, 56, `class="b"`, cut(c.Subtitle, 130))
}

// start is the second 0: the first mark's, when there is nothing else.
func (c Chart) start() time.Time {
	switch {
	case !c.Start.IsZero():
		return c.Start
	case len(c.Dots) > 0:
		return slices.MinFunc(c.Dots, func(a, b Dot) int { return a.At.Compare(b.At) }).At
	case len(c.Marks) > 0:
		return slices.MinFunc(c.Marks, func(a, b Mark) int { return a.At.Compare(b.At) }).At
	default:
		return c.Start
	}
}

func (c Chart) axisNames(p *page, top float64) {
	p.text((left+width-right)/2, height-14, `class="k" text-anchor="middle"`, cut(cmp.Or(c.X, "seconds since the first change"), 120))
	middle := number((top + height - bottom) / 2)
	p.text(0, 0, `class="k" text-anchor="middle" transform="translate(28 `+middle+`) rotate(-90)"`,
		cut(cmp.Or(c.Y, "from the change to the node's answer"), 60))
}

// drawDots draws the dots of a group, smaller and paler the more there are in the
// chart. Each says what it is when a mouse rests on it.
func drawDots(p *page, g group, all int, x, y scale) {
	radius, opacity := 4.0, 0.6
	switch {
	case all > 20_000:
		radius, opacity = 1.8, 0.22
	case all > 3_000:
		radius, opacity = 2.4, 0.35
	case all > 600:
		radius, opacity = 3.2, 0.5
	}
	p.raw(fmt.Sprintf(`<g fill="%s" fill-opacity="%.2f">`+"\n", g.colour, opacity))
	for _, d := range g.dots {
		g.shape(p, x.moment(d.At), y.at(d.Took.Seconds()), radius)
		p.raw("<title>")
		p.escaped(d.Node+" ("+d.Group+"): "+took(d.Took)+", "+fmt.Sprintf("%.1f s", d.At.Sub(x.zero).Seconds()), 300)
		p.raw("</title>")
		p.raw(g.end)
	}
	p.raw("</g>\n")
}

// took is a time for people, of three digits.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
}
