package order

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// at is a moment of the tests, in milliseconds.
func at(ms int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(ms) * time.Millisecond) }

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// story is three versions of four names: web changes each time, db once, new
// comes with the third, and old leaves with it.
func story() []Version {
	hosts := func(pairs ...string) map[string]netip.Addr {
		m := map[string]netip.Addr{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = addr(pairs[i+1])
		}
		return m
	}
	return []Version{
		{Number: 7, Published: at(0), Hosts: hosts("web", "10.0.0.1", "db", "10.1.0.1", "old", "10.2.0.1")},
		{Number: 8, Published: at(100), Hosts: hosts("web", "10.0.0.2", "db", "10.1.0.1", "old", "10.2.0.1")},
		{Number: 10, Published: at(200), Hosts: hosts("web", "10.0.0.3", "db", "10.1.0.2", "new", "10.3.0.1")},
	}
}

// says is an answer that took a millisecond.
func says(ms int, name, address string) Answer {
	return Answer{Name: name, Addr: addr(address), Asked: at(ms - 1), Answered: at(ms)}
}

// good are the answers of a node that has each version 20 ms after its publish.
func good() []Answer {
	return []Answer{
		says(10, "web", "10.0.0.1"), says(11, "db", "10.1.0.1"), says(12, "old", "10.2.0.1"), says(13, "new", ""),
		says(110, "web", "10.0.0.1"), says(120, "web", "10.0.0.2"), says(121, "db", "10.1.0.1"), says(122, "new", ""),
		says(210, "db", "10.1.0.1"), says(220, "new", "10.3.0.1"), says(221, "web", "10.0.0.3"), says(222, "old", ""),
		says(223, "db", "10.1.0.2"),
	}
}

func TestGoodAnswers(t *testing.T) {
	versions := story()
	v := Check("node-07", versions, good())
	if len(v.Faults) > 0 || v.Node != "node-07" || v.Answers != 13 || v.Last != 10 {
		t.Errorf("got %+v", v)
	}
}

// Each of these nodes does something wrong, and is found.
func TestFaults(t *testing.T) {
	insert := func(after int, more ...Answer) []Answer {
		all := append([]Answer{}, good()[:after]...)
		return append(append(all, more...), good()[after:]...)
	}
	cases := map[string]struct {
		answers []Answer
		why     []string
	}{
		"a torn file": {insert(7, says(121, "web", "10.0.0.2"), says(121, "old", ""), says(121, "db", "")), []string{
			`"old" is unknown, as only in version 10, published 79ms after the answer`,
			`"db" is unknown, and no version says so: in version 8 it is 10.1.0.1`,
		}},
		"back by a version":      {insert(7, says(121, "web", "10.0.0.1")), []string{`version 8: it went back`}},
		"back by another name":   {insert(12, says(222, "db", "10.1.0.1")), []string{`version 10: it went back`}},
		"before its time":        {insert(7, says(121, "web", "10.0.0.3")), []string{`published 79ms after`}},
		"just too early":         {insert(8, Answer{"db", addr("10.1.0.2"), at(150), at(200).Add(-1)}), []string{`1ns after`}},
		"a wrong address":        {insert(7, says(121, "web", "10.0.0.9")), []string{`in version 8 it is 10.0.0.2`}},
		"another name's address": {insert(8, says(123, "new", "10.0.0.2")), []string{`in version 8 it is unknown`}},
	}
	versions := story()
	for name, c := range cases {
		v := Check("node-07", versions, c.answers)
		if len(v.Faults) != len(c.why) || v.Last != 10 {
			t.Errorf("%s: got %+v", name, v)
			continue
		}
		for i, f := range v.Faults {
			if !strings.Contains(f.Why, c.why[i]) || f.Answer.Name == "" {
				t.Errorf("%s: got %+v", name, f)
			}
		}
	}
}

func TestVersionsOutOfOrder(t *testing.T) {
	versions := story()
	versions[1], versions[2] = versions[2], versions[1]
	if v := Check("n", versions, good()); len(v.Faults) != 1 || !strings.Contains(v.Faults[0].Why, "nothing was judged") {
		t.Errorf("got %+v", v)
	}
	if v := Check("n", nil, good()[:1]); len(v.Faults) != 1 || !strings.Contains(v.Faults[0].Why, "no version was published") {
		t.Errorf("without a version: %+v", v)
	}
}

// A hosts file is read as it is written, and a torn one is an error.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "map[]",
		"10.0.0.1 a b\r\n10.0.0.2\tc#d\n::1 e": "map[a:10.0.0.1 b:10.0.0.1 c:10.0.0.2 e:::1]",
		"::ffff:10.0.0.1 a\n10.0.0.1 a\n":      "map[a:10.0.0.1]",
	} {
		if got, err := Parse([]byte(text)); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for text, part := range map[string]string{
		"10.0.0.1 a\n10.0.0.1 b\n10.0.0.":          "line 3",
		"\n\n10.0.0.1\n":                           "line 3",
		"10.0.0.1 a\n# b\n10.0.0.2 b a\n10.0.0.9":  "line 3",
		"10.0.0.1 a 10.0.0.2 b\n10.0.0.2 10.0.0.2": "line 2",
	} {
		if got, err := Parse([]byte(text)); err == nil || got != nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}
