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
func story() ([]Version, []string) {
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
	}, []string{"web", "db", "old", "new"}
}

// says is an answer that took a millisecond.
func says(ms int, name, address string) Answer {
	return Answer{Name: name, Addr: addr(address), Asked: at(ms - 1), Answered: at(ms)}
}

// good is what a node answers that has each version 20 ms after its publishing.
func good() []Answer {
	return []Answer{
		says(10, "web", "10.0.0.1"), says(11, "db", "10.1.0.1"), says(12, "old", "10.2.0.1"), says(13, "new", ""),
		says(110, "web", "10.0.0.1"), says(120, "web", "10.0.0.2"), says(121, "db", "10.1.0.1"), says(122, "new", ""),
		says(210, "db", "10.1.0.1"), says(220, "new", "10.3.0.1"), says(221, "web", "10.0.0.3"), says(222, "old", ""), says(223, "db", "10.1.0.2"),
	}
}

func TestGoodAnswers(t *testing.T) {
	versions, names := story()
	v := Check("node-07", versions, names, good())
	if len(v.Faults) > 0 || v.Node != "node-07" || v.Answers != 13 || v.First != 7 || v.Last != 10 {
		t.Errorf("got %+v", v)
	}
	if faults := Final(versions[2], names, good()); len(faults) > 0 {
		t.Errorf("at the end: %+v", faults)
	}
	if v := Check("n", versions, names, nil); v.First != 0 || v.Last != 0 || len(v.Faults) > 0 {
		t.Errorf("nothing was asked: %+v", v)
	}
}

// Each of these nodes does something that must not be, and is found out.
func TestFaults(t *testing.T) {
	insert := func(after int, more ...Answer) []Answer {
		all := append([]Answer{}, good()[:after]...)
		return append(append(all, more...), good()[after:]...)
	}
	cases := map[string]struct {
		answers []Answer
		low     uint64
		why     []string
	}{
		"a torn file, in which half of the names are missing": {insert(7, says(121, "web", "10.0.0.2"), says(121, "old", ""), says(121, "db", "")), 8, []string{
			`"old" does not exist, it said, which will be right only in version 10, published 79ms after the answer`,
			`"db" does not exist, it said, and no version says so: in version 8 it is 10.1.0.1`,
		}},
		"back by a version": {insert(7, says(121, "web", "10.0.0.1")), 8, []string{
			`"web" is 10.0.0.1, it said, which was right in version 7, and is older than version 8: it went back`,
		}},
		"back by a version, which another name tells": {insert(12, says(222, "db", "10.1.0.1")), 10, []string{
			`"db" is 10.1.0.1, it said, which was right in version 8, and is older than version 10: it went back`,
		}},
		"before its time": {insert(7, says(121, "web", "10.0.0.3")), 8, []string{
			`"web" is 10.0.0.3, it said, which will be right only in version 10, published 79ms after the answer`,
		}},
		"just before its time": {insert(8, Answer{Name: "db", Addr: addr("10.1.0.2"), Asked: at(150), Answered: at(200).Add(-time.Nanosecond)}), 8, []string{
			`published 1ns after the answer`,
		}},
		"a wrong address": {insert(7, says(121, "web", "10.0.0.9")), 8, []string{
			`"web" is 10.0.0.9, it said, and no version says so: in version 8 it is 10.0.0.2`,
		}},
		"another name's address": {insert(8, says(123, "new", "10.0.0.2")), 8, []string{
			`"new" is 10.0.0.2, it said, and no version says so: in version 8 there is no such name`,
		}},
		"a name that is not asked for": {insert(7, says(121, "else", "")), 8, []string{`"else" is none of the names`}},
	}
	versions, names := story()
	for name, c := range cases {
		v := Check("node-07", versions, names, c.answers)
		if len(v.Faults) != len(c.why) || v.First != 7 || v.Last != 10 {
			t.Errorf("%s: got %+v", name, v)
			continue
		}
		for i, f := range v.Faults {
			if !strings.Contains(f.Why, c.why[i]) || f.Low != c.low || f.Node != "node-07" || f.Answer.Name == "" {
				t.Errorf("%s: got %+v", name, f)
			}
		}
	}
}

func TestVersionsOutOfOrder(t *testing.T) {
	versions, names := story()
	versions[1], versions[2] = versions[2], versions[1]
	if v := Check("n", versions, names, good()); len(v.Faults) != 1 || !strings.Contains(v.Faults[0].Why, "version 8 is listed after version 10") {
		t.Errorf("got %+v", v)
	}
	if v := Check("n", nil, names, good()[:1]); len(v.Faults) != 1 || !strings.Contains(v.Faults[0].Why, "no version was published") {
		t.Errorf("without a version: %+v", v)
	}
}

func TestFinalFaults(t *testing.T) {
	versions, names := story()
	faults := Final(versions[2], append(names, "lost"), append(good()[:12], says(300, "web", "10.0.0.2"), says(301, "new", "")))
	var all []string
	for _, f := range faults {
		all = append(all, f.Why)
		if f.Low != 10 || f.Answer.Name == "" {
			t.Errorf("got %+v", f)
		}
	}
	want := `"web" is 10.0.0.2, it said at last, but in version 10, the last, it is 10.0.0.3
"db" is 10.1.0.1, it said at last, but in version 10, the last, it is 10.1.0.2
"new" does not exist, it said at last, but in version 10, the last, it is 10.3.0.1
"lost" was never asked for`
	if got := strings.Join(all, "\n"); got != want {
		t.Errorf("got\n%s", got)
	}
	early := Final(versions[2], []string{"db"}, []Answer{says(200, "db", "10.1.0.2")})
	if len(early) != 1 || !strings.Contains(early[0].Why, `"db" was last asked for 1ms before version 10 was published`) {
		t.Errorf("asked too early: %+v", early)
	}
}

// A long day of many questions is judged at once. How long it took is told.
func TestManyAnswers(t *testing.T) {
	const versions, names, answers = 220, 1000, 1_000_000
	var all []Version
	var asked []string
	for i := range names {
		asked = append(asked, fmt.Sprintf("web-%04d.lab.test", i))
	}
	for v := range versions {
		hosts := make(map[string]netip.Addr, names)
		for i, name := range asked {
			changed := v / (1 + i%7) // some change each time, some seldom
			hosts[name] = netip.AddrFrom4([4]byte{10, byte(changed), byte(i >> 8), byte(i)})
		}
		all = append(all, Version{Number: uint64(v + 1), Published: at(v * 1000), Hosts: hosts})
	}
	given := make([]Answer, answers)
	for i := range given {
		v := i * versions / answers
		name := asked[i*7919%names]
		given[i] = Answer{Name: name, Addr: all[v].Hosts[name], Asked: at(v*1000 + 10), Answered: at(v*1000 + 11)}
	}
	begin := time.Now()
	verdict := Check("n", all, asked, given)
	t.Logf("%d answers, %d versions: %s", answers, versions, time.Since(begin))
	if len(verdict.Faults) > 0 || verdict.First != 1 || verdict.Last != versions {
		t.Errorf("got %d to %d, and %d faults", verdict.First, verdict.Last, len(verdict.Faults))
	}
}
