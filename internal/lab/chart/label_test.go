package chart

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// placed is where a text stands, by a width that is a little too small for any font.
func placed(t *testing.T, e element) box {
	x, y, wide := e.number(t, "x"), e.number(t, "y"), textWidth(e.Text, 11)
	switch e.attr("text-anchor") {
	case "end":
		x -= wide
	case "middle":
		x -= wide / 2
	}
	return box{x, y - 9, x + wide, y + 2}
}

// texts are the boxes of the texts of a class.
func texts(t *testing.T, c Chart, class string) (boxes []box, words []string) {
	t.Helper()
	_, root := draw(t, c)
	all, _ := textsOf(root)
	for _, e := range all {
		if e.attr("class") == class {
			boxes, words = append(boxes, placed(t, e)), append(words, e.Text)
		}
	}
	return boxes, words
}

func TestTextsDoNotOverlap(t *testing.T) {
	c := small()
	for node := range 3 { // three slow ones of about one height, and many marks
		for change := range 12 {
			c.Dots = append(c.Dots, Dot{fmt.Sprintf("slow-%d", node), "agent", after(float64(change) * 1.2), time.Duration(3000+node*100) * time.Millisecond})
		}
	}
	for range 8 {
		c.Dots = append(c.Dots, small().Dots...)
	}
	for i := range 30 {
		c.Marks = append(c.Marks, Mark{after(float64(i*i%17) * 0.9), strings.Repeat("mark ", 1+i%5)})
	}
	for _, class := range []string{"n", "m"} {
		boxes, words := texts(t, c, class)
		if len(boxes) < 3 {
			t.Errorf("%s: only %q", class, words)
		}
		for i, b := range boxes {
			for j := range i {
				if b.overlaps(boxes[j]) {
					t.Errorf("%q lies on %q: %v, %v", words[i], words[j], b, boxes[j])
				}
			}
			if b.left < 0 || b.right > width || b.top < 0 {
				t.Errorf("%q is at %v", words[i], b)
			}
		}
	}
}

// A line on its way to a higher lane crosses no text.
func TestLinesOfMarksCrossNoText(t *testing.T) {
	c := small()
	for name, marks := range map[string][]Mark{
		"the second has no room beside the third, and its line is in the way of the first": {
			{after(9), "node-01 is off"}, {after(10.2), "the leader is killed"}, {after(11), "node-01 is back"},
		},
		"all at the right edge": {
			{after(13), "node-01 is cut off"}, {after(13.4), "the leader is killed"}, {after(13.8), "node-01 is back"}, {after(14), "the end of the story"},
		},
		"at the left edge": {{after(0), "the first change"}, {after(0.5), "node-01 is cut off"}, {after(1), "node-01 is back"}},
	} {
		c.Marks = marks
		boxes, words := texts(t, c, "m")
		if len(boxes) != len(marks) {
			t.Errorf("%s: got %q", name, words)
		}
		_, root := draw(t, c)
		root.each(func(e element) {
			if e.XMLName.Local != "line" || e.attr("class") != "d" {
				return
			}
			x := e.number(t, "x1")
			for i, b := range boxes {
				if (box{x - 1, e.number(t, "y1"), x + 1, e.number(t, "y2")}).overlaps(b) {
					t.Errorf("%s: the line at %v crosses %q at %v", name, x, words[i], b)
				}
			}
		})
	}
}

func TestWhoStandsOut(t *testing.T) {
	// fleet is ten dots of each node, which took so many milliseconds.
	fleet := func(nodes map[string]int) (dots []Dot) {
		for node, ms := range nodes {
			group, _, _ := strings.Cut(node, "-")
			for i := range 10 {
				dots = append(dots, Dot{node, group, after(float64(i)), time.Duration(ms+i%3) * time.Millisecond})
			}
		}
		return dots
	}
	for name, c := range map[string]struct {
		nodes map[string]int
		want  string
	}{
		"nobody":                {map[string]int{"a-1": 100, "a-2": 110, "a-3": 290}, "[]"},
		"one":                   {map[string]int{"a-1": 100, "a-2": 110, "a-3": 350}, "[{a-3 a}]"},
		"two, the slower first": {map[string]int{"a-1": 100, "a-2": 100, "a-3": 100, "a-4": 350, "a-5": 500}, "[{a-5 a} {a-4 a}]"},
		"a slower group":        {map[string]int{"a-1": 10, "a-2": 10, "a-3": 10, "a-4": 10, "b-1": 100, "b-2": 110}, "[]"},
		"one of a slower group": {map[string]int{"a-1": 10, "a-2": 10, "a-3": 10, "a-4": 10, "b-1": 100, "b-2": 110, "b-3": 900}, "[{b-3 b}]"},
		"a group of one":        {map[string]int{"a-1": 10, "a-2": 10, "b-1": 100}, "[{b-1 b}]"},
	} {
		if got, _ := slowNodes(fleet(c.nodes)); fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
