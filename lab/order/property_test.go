package order

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawVersions draws versions of few names and addresses, so that many say the
// same, and of moments that are often the same.
func drawVersions(t *rapid.T, most int) ([]Version, []string) {
	names := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "names")]
	versions := make([]Version, rapid.IntRange(1, most).Draw(t, "versions"))
	number, moment := uint64(0), 0
	for i := range versions {
		number += uint64(rapid.IntRange(1, 2).Draw(t, "step"))
		moment += rapid.IntRange(0, 3).Draw(t, "pause")
		hosts := map[string]netip.Addr{}
		for _, name := range names {
			if n := rapid.IntRange(0, 2).Draw(t, "address"); n > 0 {
				hosts[name] = netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
			}
		}
		versions[i] = Version{Number: number, Published: at(moment), Hosts: hosts}
	}
	return versions, names
}

// A node that never goes back, and may skip versions, has no fault.
func TestWalksHaveNoFault(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		versions, names := drawVersions(t, 30)
		place := rapid.IntRange(0, len(versions)-1).Draw(t, "start")
		now := versions[place].Published
		var answers []Answer
		for range rapid.IntRange(1, 40).Draw(t, "answers") {
			for place+1 < len(versions) && rapid.Bool().Draw(t, "goes on") {
				place++
			}
			if p := versions[place].Published; p.After(now) {
				now = p
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "later")) * time.Millisecond)
			name := rapid.SampledFrom(names).Draw(t, "name")
			answers = append(answers, Answer{Name: name, Addr: versions[place].Hosts[name], Asked: now, Answered: now})
		}
		v := Check("n", versions, answers)
		if len(v.Faults) > 0 {
			t.Fatalf("faults of a node that has none: %+v", v.Faults)
		}
		if v.Last > versions[place].Number {
			t.Fatalf("up to %d, but it went to %d", v.Last, versions[place].Number)
		}
	})
}

// explain tries all choices of versions that never go back, and returns the
// oldest last version of those that explain all answers.
func explain(versions []Version, answers []Answer, low int) (last int, ok bool) {
	if len(answers) == 0 {
		return low, true
	}
	last = len(versions)
	for at := low; at < len(versions); at++ {
		a := answers[0]
		if versions[at].Hosts[a.Name] != a.Addr || versions[at].Published.After(a.Answered) {
			continue
		}
		if l, good := explain(versions, answers[1:], at); good {
			last, ok = min(last, l), true
		}
	}
	return last, ok
}

// Whatever was answered, there is a fault if and only if no choice of versions
// explains all answers; and without the faults, all the rest is explained.
func TestFaultsAreExact(t *testing.T) {
	faulty, faultless := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		versions, names := drawVersions(t, 5)
		answers := make([]Answer, rapid.IntRange(1, 6).Draw(t, "answers"))
		for i := range answers {
			// Their order is the order of the list, whatever the clock says, and no two are equal.
			now := at(rapid.IntRange(0, 10).Draw(t, "moment"))
			answers[i] = Answer{Name: rapid.SampledFrom(names).Draw(t, "name"), Asked: now.Add(-time.Duration(i)), Answered: now}
			if n := rapid.IntRange(0, 2).Draw(t, "answer"); n > 0 {
				answers[i].Addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
			}
		}
		v := Check("n", versions, answers)
		last, ok := explain(versions, answers, 0)
		if ok != (len(v.Faults) == 0) || ok && v.Last != versions[last].Number {
			t.Fatalf("got %+v, but that it is explained is %v, up to place %d", v, ok, last)
		}
		if ok {
			faultless++
			return
		}
		faulty++
		var rest []Answer
		left := v.Faults
		for _, a := range answers {
			if len(left) > 0 && left[0].Answer == a {
				left = left[1:]
				continue
			}
			rest = append(rest, a)
		}
		if again := Check("n", versions, rest); len(left) > 0 || len(again.Faults) > 0 || again.Last != v.Last {
			t.Fatalf("without the faults of %+v it is %+v", v, again)
		}
	})
	t.Logf("%d with faults, %d without", faulty, faultless)
	if !testing.Short() && (faulty == 0 || faultless == 0) {
		t.Error("one side was never drawn")
	}
}
