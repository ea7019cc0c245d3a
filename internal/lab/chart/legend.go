package chart

import (
	"fmt"
	"slices"
	"time"
)

// legend draws a line of groups, or several, under the titles. It returns where
// they end.
func (c Chart) legend(p *page, groups []group, top float64) float64 {
	const size, gap = 13.0, 34.0
	x, y := edge+6, top+8
	if len(groups) == 0 {
		return top
	}
	for i, g := range groups {
		if i == 12 {
			p.text(x+8, y, `class="k"`, fmt.Sprintf("and %d more", len(groups)-i))
			break
		}
		name, figures := cut(g.name, 40), g.figures()
		wide := 12 + textWidth(name+"  "+figures, size) + gap
		if i > 0 && x+wide-gap > width-right {
			x, y = edge+6, y+20
		}
		p.raw(`<g fill="` + g.colour + `">`)
		g.shape(p, x, y-4.5, 5)
		p.raw(g.end + "</g>\n")
		p.raw(`<text x="` + number(x+12) + `" y="` + number(y) + `" style="font-size:13px"><tspan font-weight="600">`)
		p.escaped(name, len(name))
		p.raw(`</tspan><tspan class="k" dx="8">`)
		p.escaped(figures, len(figures))
		p.raw("</tspan></text>\n")
		x += wide
	}
	return y + 6
}

// figures are the group's number of dots and its percentiles.
func (g group) figures() string {
	took := make([]time.Duration, len(g.dots))
	for i, d := range g.dots {
		took[i] = d.Took
	}
	slices.Sort(took)
	return fmt.Sprintf("n %s · p50 %s · p99 %s", grouped(len(took)), tookOf(took, 50), tookOf(took, 99))
}

func tookOf(sorted []time.Duration, percent int) string { return took(percentile(sorted, percent)) }

// percentile is the smallest time that so many of a hundred are not above.
func percentile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

// grouped is a number with its thousands apart.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
