package rollout

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTakeOver proves that another hub awaits the nodes that the first one admitted, and does not ask with an old number.
func TestTakeOver(t *testing.T) {
	f := newFleet(20, share("50%"), share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(5 * time.Second)
	f.pass(6 * time.Second)
	f.is(t, Promoted, 2)

	f = newFleet(20, share("50%"), share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(5 * time.Second)
	f.pass(4 * time.Second)
	for i := range 3 {
		f.node(i).Here = false
		f.mute[f.node(i).Name] = true
	}
	unknown := f.node(0).Name // of this one, nothing is known at all
	f.w.Nodes = slices.DeleteFunc(f.w.Nodes, func(n Node) bool { return n.Name == unknown })
	f.takeOver("hub#2", false)
	f.pass(9 * time.Second)
	if f.is(t, Running, 0); len(f.m.Admitted) != 9 {
		t.Fatal(len(f.m.Admitted))
	}
	f.pass(10 * time.Second)
	if f.is(t, Reverted, 0); !strings.Contains(f.row.Reason, "3 nodes failed, and max_failed is 0: ") ||
		!strings.Contains(f.row.Reason, "1 node that lost its hub") {
		t.Fatal(f.row.Reason)
	}

	f = newFleet(20, share("50%"), share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(5 * time.Second)
	f.pass(2 * time.Second)
	f.takeOver("hub#2", false)
	f.w.Stale = true
	f.pass(time.Minute)
	f.is(t, Paused, 0)
	row, err := f.row.Resume()
	f.order(t, row, err)
	f.pass(6 * time.Second)
	f.is(t, Promoted, 2)
}

// TestTakeOverInTheMiddle proves that nodes that were installing stay admitted, and that old answers do not count.
func TestTakeOverInTheMiddle(t *testing.T) {
	f := newFleet(20, share("50%"), share("100%"))
	f.row.Plan.Stages[0].Bake = 1
	m, o := Step(f.row, f.m, f.w, f.hub)
	f.m, f.row = m, o.Row
	was := f.m.Admitted
	f.takeOver("hub#2", true)
	m, o = Step(f.row, f.m, f.w, f.hub)
	if f.m, f.row = m, o.Row; !maps.Equal(m.Admitted, was) || o.Row.Admitted != 10 || o.Row.Counted != 20 {
		t.Fatal(m.Admitted, o.Row)
	}
	f.report()
	if f.bake(); !f.m.Asked {
		t.Fatal(f.m)
	}
	f.broken[f.node(3).Name] = "slow"
	f.step()
	delete(f.broken, f.node(3).Name)
	f.report()
	f.bake() // it asks a second time
	f.report()
	f.takeOver("hub#3", false) // all answers are there
	for range 3 {
		m, o = Step(f.row, f.m, f.w, f.hub)
		if f.m, f.row = m, o.Row; o.Row.Stage != 0 {
			t.Fatal("an answer to the first hub counts for the second")
		}
	}
	f.pass(time.Second)
	f.is(t, Promoted, 2)
}

// TestTakeOverAtATime proves that nodes of the first hub count for the second as not healthy, until they come; and that no other
// node is taken for them.
func TestTakeOverAtATime(t *testing.T) {
	for _, knows := range []bool{false, true} {
		for _, absent := range []bool{false, true} {
			f := newFleet(20, Stage{Share: share("100%").Share, MaxUnavailable: 5})
			m, o := Step(f.row, f.m, f.w, f.hub)
			if f.m, f.row = m, o.Row; !absent {
				f.report()
			}
			f.takeOver("hub#2", knows)
			for i := range 5 {
				f.node(i).Here = !absent
			}
			late := f.node(5) // it is before the threshold now, and was not in contact
			f.row.Threshold = f.row.Place(late.Name, nil)
			if f.pass(Silence + 5*time.Second); absent {
				f.is(t, Running, 0)
			} else {
				f.is(t, Promoted, 1)
			}
			if f.m.Admitted[late.Name] == absent {
				t.Fatal(f.m.Admitted)
			}
		}
	}
	// One node of ten does not come: the rollout waits for it, and fails.
	f := newFleet(20, share("50%"), share("100%"))
	m, o := Step(f.row, f.m, f.w, f.hub)
	f.m, f.row = m, o.Row
	f.report()
	unknown := f.node(4).Name
	f.w.Nodes = slices.DeleteFunc(f.w.Nodes, func(n Node) bool { return n.Name == unknown })
	f.takeOver("hub#2", false)
	f.pass(Silence - time.Second)
	f.is(t, Running, 0)
	f.pass(2 * time.Second)
	f.is(t, Reverted, 0)
}

// TestTakeOverBetweenStages: an admitted node that is away is waited for while the new controller admits others, and at the next
// takeover as well.
func TestTakeOverBetweenStages(t *testing.T) {
	f := newFleet(8, Stage{Count: 2}, Stage{Count: 4, PauseBefore: true}, share("100%"))
	f.step()
	f.is(t, Paused, 1)
	away := slices.IndexFunc(f.w.Nodes, func(n Node) bool { return n.On == f.row.ID })
	f.w.Nodes = slices.Delete(f.w.Nodes, away, away+1)
	f.takeOver("hub#2", false)
	row, err := f.row.Promote(false)
	f.order(t, row, err)
	f.pass(Silence - time.Second)
	f.is(t, Running, 1)
	f.takeOver("hub#3", false)
	f.pass(Silence - time.Second)
	f.is(t, Running, 1)
	f.pass(2 * time.Second)
	f.is(t, Reverted, 1)
}

// TestTakeOverBeforeTheOffer: the first hub ended before any node had the candidate. The next one finds the nodes again; but not
// if one of them is not connected, and another node up to the threshold came.
func TestTakeOverBeforeTheOffer(t *testing.T) {
	for _, others := range []bool{false, true} {
		f := newFleet(20, Stage{Count: 2}, share("100%"))
		late := *f.node(0)
		f.w.Nodes = slices.DeleteFunc(f.w.Nodes, func(n Node) bool { return n.Name == late.Name })
		m, o := Step(f.row, f.m, f.w, f.hub)
		if f.m, f.row = m, o.Row; o.Row.Admitted != 2 {
			t.Fatal(o.Row)
		}
		if others {
			away := f.node(0).Name
			f.w.Nodes = slices.DeleteFunc(f.w.Nodes, func(n Node) bool { return n.Name == away })
			f.w.Nodes = append(f.w.Nodes, late)
			slices.SortFunc(f.w.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
		}
		f.takeOver("hub#2", false)
		if f.pass(Silence - time.Second); others {
			f.is(t, Running, 0)
			if len(f.m.Admitted) > 0 {
				t.Fatal(f.m.Admitted)
			}
		} else {
			f.is(t, Promoted, 2)
		}
	}
}

func TestForeign(t *testing.T) {
	f := newFleet(20, share("50%"), share("100%"))
	f.step()
	f.row.Controller, f.row.State = "other#1", Running
	if m, o := Step(f.row, f.m, f.w, f.hub); o.Write || m.Rollout != "" || o.Row.Counter != f.row.Counter {
		t.Fatal(o)
	}
}
