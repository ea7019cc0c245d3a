package chart

import (
	"cmp"
	"slices"
	"time"
)

// A node stands out when its median is more than so many times that of all dots,
// and that of its group, if others are in it: else all nodes of a slower group
// would. The names of so many are shown, the slowest first, and each time a name
// is shown that far from the last.
const (
	standsOut = 3
	mostNamed = 3
	nameApart = 110.0
)

// member is a node in a group.
type member struct{ node, group string }

// slowNodes are the nodes that stand out, the slowest first, and the time from
// which a dot stands out.
func slowNodes(dots []Dot) (slow []member, from time.Duration) {
	all := make([]time.Duration, 0, len(dots))
	byGroup, byNode := make(map[string][]time.Duration), make(map[member][]time.Duration)
	for _, d := range dots {
		all = append(all, d.Took)
		byGroup[d.Group] = append(byGroup[d.Group], d.Took)
		m := member{d.Node, d.Group}
		byNode[m] = append(byNode[m], d.Took)
	}
	median := func(took []time.Duration) time.Duration {
		slices.Sort(took)
		return percentile(took, 50)
	}
	from = standsOut * median(all)
	medians := make(map[member]time.Duration)
	for m, took := range byNode {
		alone := len(took) == len(byGroup[m.group])
		if at := median(took); at > from && (alone || at > standsOut*median(byGroup[m.group])) {
			medians[m] = at
			slow = append(slow, m)
		}
	}
	slices.SortFunc(slow, func(a, b member) int {
		return cmp.Or(cmp.Compare(medians[b], medians[a]), cmp.Compare(a.node, b.node), cmp.Compare(a.group, b.group))
	})
	return slow[:min(len(slow), mostNamed)], from
}

// labelSlow writes the names of the nodes that stand out beside those of their
// dots that do: where it has room and hides no dot, or once, on as few as can be.
func labelSlow(p *page, dots []Dot, groups []group, x, y scale, top float64) {
	slow, from := slowNodes(dots)
	if len(slow) == 0 {
		return
	}
	crowd := newCrowd(dots, x, y)
	var taken []box
	for _, m := range slow {
		colour := groups[slices.IndexFunc(groups, func(g group) bool { return g.name == m.group })].colour
		text := cut(m.node, 40)
		write := func(b box) {
			taken = append(taken, b)
			p.text(b.left+3, b.bottom-3.5, `class="n" style="fill:`+colour+`"`, text)
		}
		fewest, best, shown := 0, box{}, false
		for _, d := range dots {
			if d.Node != m.node || d.Group != m.group || d.Took <= from {
				continue
			}
			b, hidden := nameBox(x.moment(d.At), y.at(d.Took.Seconds()), text, taken, crowd, top)
			switch {
			case hidden == 0:
				write(b)
				shown = true
			case hidden > 0 && (fewest == 0 || hidden < fewest):
				best, fewest = b, hidden
			}
		}
		if !shown && fewest > 0 {
			write(best)
		}
	}
}

// nameBox is the place for a name beside the dot at a place, and how many dots it
// hides there: -1 if there is no room.
func nameBox(at, level float64, text string, taken []box, c crowd, top float64) (best box, hidden int) {
	const high, off = 14.0, 6.0
	wide := textWidth(text, 12.5) + 6
	hidden = -1
	for _, b := range []box{ // above, below, right, left
		{at - wide/2, level - off - high, at + wide/2, level - off},
		{at - wide/2, level + off, at + wide/2, level + off + high},
		{at + off, level - high/2, at + off + wide, level + high/2},
		{at - off - wide, level - high/2, at - off, level + high/2},
	} {
		// Names of about one height keep their distance.
		apart := box{b.left - nameApart, b.top - 3*high, b.right + nameApart, b.bottom + 3*high}
		if b.left < left || b.right > width-4 || b.top < top || b.bottom > height-bottom || !apart.free(taken) {
			continue
		}
		if n := c.in(b); hidden < 0 || n < hidden {
			best, hidden = b, n
		}
	}
	return best, hidden
}

// crowd counts the dots in a place at once, however many there are: of cells of
// cell by cell, it has the number of dots to the left and above.
type crowd [][]int

const cell = 2.0

func newCrowd(dots []Dot, x, y scale) crowd {
	c := make(crowd, int(height/cell)+2)
	for i := range c {
		c[i] = make([]int, int(width/cell)+2)
	}
	for _, d := range dots {
		c[int(y.at(d.Took.Seconds())/cell)+1][int(x.moment(d.At)/cell)+1]++
	}
	for i := 1; i < len(c); i++ {
		for j := 1; j < len(c[i]); j++ {
			c[i][j] += c[i-1][j] + c[i][j-1] - c[i-1][j-1]
		}
	}
	return c
}

// in is the number of dots in a box inside the picture.
func (c crowd) in(b box) int {
	top, left, bottom, right := int(b.top/cell), int(b.left/cell), int(b.bottom/cell)+1, int(b.right/cell)+1
	return c[bottom][right] - c[top][right] - c[bottom][left] + c[top][left]
}
