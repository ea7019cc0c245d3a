package chart

// group is the dots of a group, and how they look.
type group struct {
	name   string
	dots   []Dot
	colour string
	shape  func(p *page, x, y, radius float64) // begins the element
	end    string                              // ends it
}

// look gives the group at a place its colour and shape. The colours are six that
// people tell apart who see no red or no green (those of Okabe and Ito, without
// the yellow, which is too light on white).
func (g *group) look(place int) {
	colours := []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#333333"}
	g.colour = colours[place%len(colours)]
	switch (place + place/len(colours)) % 4 {
	case 0:
		g.shape, g.end = circle, "</circle>\n"
	case 1:
		g.shape, g.end = diamond, "</path>\n"
	case 2:
		g.shape, g.end = triangle, "</path>\n"
	default:
		g.shape, g.end = square, "</path>\n"
	}
}

// groupsOf are the groups in the order in which they first come, each with its
// dots in theirs.
func groupsOf(dots []Dot) []group {
	var groups []group
	places := make(map[string]int)
	for _, d := range dots {
		i, known := places[d.Group]
		if !known {
			i = len(groups)
			places[d.Group] = i
			g := group{name: d.Group}
			g.look(i)
			groups = append(groups, g)
		}
		groups[i].dots = append(groups[i].dots, d)
	}
	return groups
}

func circle(p *page, x, y, radius float64) {
	p.raw(`<circle cx="` + number(x) + `" cy="` + number(y) + `" r="` + number(radius) + `">`)
}

// The other shapes are as large to the eye as the circle, not as wide.

func diamond(p *page, x, y, radius float64) {
	r := number(radius * 1.3)
	p.raw(`<path d="M` + number(x) + ` ` + number(y-radius*1.3) + `l` + r + ` ` + r + `-` + r + ` ` + r + `-` + r + `-` + r + `z">`)
}

func triangle(p *page, x, y, radius float64) {
	r := number(radius * 1.25)
	p.raw(`<path d="M` + number(x) + ` ` + number(y-radius*1.3) + `l` + r + ` ` + number(radius*2.2) + `h-` + number(radius*2.5) + `z">`)
}

func square(p *page, x, y, radius float64) {
	r := number(radius * 1.8)
	p.raw(`<path d="M` + number(x-radius*0.9) + ` ` + number(y-radius*0.9) + `h` + r + `v` + r + `h-` + r + `z">`)
}
