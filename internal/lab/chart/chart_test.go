package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// zero is the second 0 of the tests.
func zero() time.Time { return time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC) }

func after(s float64) time.Time { return zero().Add(time.Duration(s * 1e9)) }

// element is an element of the picture.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Inside  []element  `xml:",any"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e element) number(t *testing.T, name string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(e.attr(name), 64)
	if err != nil {
		t.Errorf("%s of a %s: %v", name, e.XMLName.Local, err)
	}
	return f
}

// each calls f for the element, and for all inside.
func (e element) each(f func(element)) {
	f(e)
	for _, one := range e.Inside {
		one.each(f)
	}
}

// draw writes the chart, and reads it as XML.
func draw(t *testing.T, c Chart) (string, element) {
	t.Helper()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	var root element
	d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	if err := d.Decode(&root); err != nil {
		t.Fatalf("not well-formed: %v", err)
	}
	if rest := b.Bytes()[d.InputOffset():]; string(rest) != "\n" {
		t.Errorf("after the picture there is %q", rest)
	}
	if root.XMLName.Space != "http://www.w3.org/2000/svg" || root.XMLName.Local != "svg" || root.attr("viewBox") != "0 0 1000 520" || !utf8.Valid(b.Bytes()) {
		t.Errorf("the root is %v, %q", root.XMLName, root.attr("viewBox"))
	}
	known := []string{"svg", "title", "desc", "style", "rect", "g", "text", "tspan", "line", "circle", "path"}
	root.each(func(e element) {
		if !slices.Contains(known, e.XMLName.Local) {
			t.Errorf("there is a %s", e.XMLName.Local)
		}
		for _, a := range e.Attrs {
			if strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
				t.Errorf("a %s has %s=%q", e.XMLName.Local, a.Name.Local, a.Value)
			}
		}
	})
	return b.String(), root
}

// dotsOf are the elements of dots.
func dotsOf(root element) []element {
	var all []element
	root.each(func(e element) {
		if e.attr("fill-opacity") != "" {
			all = append(all, e.Inside...)
		}
	})
	return all
}

// textsOf are all texts that are seen, as they are placed.
func textsOf(root element) (texts []element, all string) {
	root.each(func(e element) {
		if e.XMLName.Local != "text" {
			return
		}
		for _, span := range e.Inside {
			e.Text += span.Text
		}
		texts = append(texts, e)
		all += e.Text + "\n"
	})
	return texts, all
}

// small is a chart of everything: two groups, marks, a node that stands out.
func small() Chart {
	c := Chart{Title: "Eight changes, four nodes", Subtitle: "one hosts file & two ways to bring it", Start: zero()}
	for change := range 8 {
		at := after(float64(change) * 2)
		for node := range 4 {
			d := Dot{Node: fmt.Sprintf("node-%02d", node), Group: "watch", At: at, Took: time.Duration(180+change*9+node*20) * time.Millisecond}
			if node >= 2 {
				d.Group, d.Took = "agent", time.Duration(20+change*3+node)*time.Millisecond
			}
			if node == 3 && change > 2 {
				d.Took = time.Duration(2000+change*37) * time.Millisecond
			}
			c.Dots = append(c.Dots, d)
		}
	}
	c.Marks = []Mark{{after(5), "node-03 is slowed"}, {after(7), "the leader is killed"}, {after(14), "all is quiet"}}
	return c
}

func TestGolden(t *testing.T) {
	got, _ := draw(t, small())
	const file = "testdata/small.svg"
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the picture differs from %s (KVEXPRESS_UPDATE=1 writes it: look at it then)", file)
	}
}

func TestDots(t *testing.T) {
	c := small()
	_, root := draw(t, c)
	dots := dotsOf(root)
	if len(dots) != len(c.Dots) {
		t.Fatalf("%d dots of %d", len(dots), len(c.Dots))
	}
	if d := dots[0]; d.XMLName.Local != "circle" || d.Inside[0].Text != "node-00 (watch): 180 ms, 0.0 s" {
		t.Errorf("the first is %+v", d)
	}
	if d := dots[len(dots)-1]; d.XMLName.Local != "path" || d.Inside[0].Text != "node-03 (agent): 2.26 s, 14.0 s" {
		t.Errorf("the last is %+v", d)
	}
	// To the right is later, and up is longer, by the logarithm.
	x := func(i int) float64 { return dots[i].number(t, "cx") }
	if a, b, c := x(0), x(2), x(14); a >= b || math.Abs((c-a)-7*(b-a)) > 1 {
		t.Errorf("at 0, 2 and 14 s: %v, %v, %v", a, b, c)
	}
	y := upwards([]Dot{{Took: 10 * time.Millisecond}, {Took: time.Second}}, 100)
	if a, b, c := y.at(0.01), y.at(0.1), y.at(1); a <= b || b <= c || math.Abs((a-b)-(b-c)) > 1e-6 {
		t.Errorf("10 ms, 100 ms, 1 s: %v, %v, %v", a, b, c)
	}
}

func TestLegendAndTicks(t *testing.T) {
	c := Chart{Title: "T"}
	for i := range 1000 {
		c.Dots = append(c.Dots, Dot{Node: "n", Group: "agent", At: after(float64(i)), Took: time.Duration(i+1) * time.Millisecond})
	}
	c.Dots = append(c.Dots, Dot{Node: "m", Group: "watch", At: after(1), Took: 12345 * time.Microsecond})
	_, root := draw(t, c)
	_, all := textsOf(root)
	for _, want := range []string{
		"agentn 1,000 · p50 500 ms · p99 990 ms\n", "watchn 1 · p50 12.3 ms · p99 12.3 ms\n", // the space between is dx
		"\n1 ms\n", "\n20 ms\n", "\n500 ms\n", "\n2 s\n", "\n0\n", "\n200\n", "seconds since the first change\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
}

func TestHostileTexts(t *testing.T) {
	evil := "</title><script>alert(1)</script>\" onload='x' &amp; ]]> <!-- \x00\x1b\xff \u202e é\n" + strings.Repeat("long ", 200)
	c := small()
	c.Title, c.Subtitle, c.X, c.Y = evil, evil, evil, evil
	c.Marks = append(c.Marks, Mark{after(3), evil})
	for i := range c.Dots {
		if c.Dots[i].Node == "node-03" {
			c.Dots[i].Node = evil // it stands out, so that it is a label too
		}
		c.Dots[i].Group += evil
	}
	got, root := draw(t, c)
	if len(dotsOf(root)) != len(c.Dots) {
		t.Errorf("%d dots", len(dotsOf(root)))
	}
	if len(got) > 60_000 {
		t.Errorf("texts are not cut: %d bytes", len(got))
	}
	named := 0
	texts, _ := textsOf(root)
	for _, e := range texts {
		if e.attr("class") == "n" {
			named++
			if !strings.HasPrefix(e.Text, "</title><script>") || !strings.HasSuffix(e.Text, "…") {
				t.Errorf("the node is named %q", e.Text)
			}
		}
	}
	if named == 0 {
		t.Error("the slow node is not named")
	}
}

func TestSizes(t *testing.T) {
	_, root := draw(t, Chart{})
	if _, all := textsOf(root); !strings.Contains(all, "nothing was measured") {
		t.Errorf("an empty chart says\n%s", all)
	}
	draw(t, Chart{Marks: []Mark{{zero(), "only a mark"}}})
	if _, root := draw(t, Chart{Dots: []Dot{{"n", "g", zero(), 84 * time.Millisecond}}}); len(dotsOf(root)) != 1 {
		t.Error("one dot is not drawn")
	}
	many := Chart{Title: "many"}
	for i := range 60_000 {
		d := Dot{fmt.Sprintf("node-%02d", i%60), []string{"watch", "agent"}[i%2], after(float64(i / 60)), time.Duration(1+i%997) * time.Millisecond}
		if i%60 == 7 {
			d.Took += 5 * time.Second
		}
		many.Dots = append(many.Dots, d)
	}
	begin := time.Now()
	var b bytes.Buffer
	if err := many.Write(&b); err != nil {
		t.Fatal(err)
	}
	t.Logf("60,000 dots: %d bytes, written in %s", b.Len(), time.Since(begin))
	legend := 2 // of shapes
	if circles, paths := bytes.Count(b.Bytes(), []byte("<circle ")), bytes.Count(b.Bytes(), []byte("<path ")); circles+paths != 60_000+legend || circles != paths {
		t.Errorf("%d circles and %d diamonds", circles, paths)
	}
}

// Whatever the numbers, all is in the picture.
func TestExtremes(t *testing.T) {
	for name, c := range map[string]Chart{
		"times of nothing and less": {Dots: []Dot{{"a", "g", zero(), 0}, {"b", "g", zero(), -time.Hour}, {"c", "g", after(1), math.MinInt64}}},
		"the longest time":          {Dots: []Dot{{"a", "g", zero(), math.MaxInt64}, {"b", "g", after(1), time.Nanosecond}}},
		"all at once":               {Dots: []Dot{{"a", "g", zero(), time.Second}, {"b", "h", zero(), time.Second}}},
		"years apart":               {Dots: []Dot{{"a", "g", time.Time{}, time.Second}, {"b", "g", zero(), time.Second}, {"c", "g", zero().AddDate(800, 0, 0), time.Second}}},
		"before the start":          {Start: after(100), Dots: []Dot{{"a", "g", zero(), time.Second}}, Marks: []Mark{{after(50), "m"}}},
	} {
		_, root := draw(t, c)
		dots := dotsOf(root)
		if len(dots) != len(c.Dots) {
			t.Errorf("%s: %d dots", name, len(dots))
		}
		for _, d := range dots {
			if d.XMLName.Local != "circle" {
				continue
			}
			if x, y := d.number(t, "cx"), d.number(t, "cy"); x < left || x > width-right || y < 50 || y > height-bottom {
				t.Errorf("%s: a dot at %v, %v", name, x, y)
			}
		}
	}
}

func TestFailedWrite(t *testing.T) {
	full := errors.New("no space left")
	for _, room := range []int{0, 1000, 100_000} {
		c := small()
		for range 6 {
			c.Dots = append(c.Dots, c.Dots...)
		}
		if err := c.Write(&narrow{room, full}); !errors.Is(err, full) {
			t.Errorf("room for %d: %v", room, err)
		}
	}
}

// narrow takes so many bytes.
type narrow struct {
	room int
	err  error
}

func (n *narrow) Write(b []byte) (int, error) {
	if len(b) > n.room {
		return 0, n.err
	}
	n.room -= len(b)
	return len(b), nil
}
