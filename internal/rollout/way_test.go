package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHealthy(t *testing.T) {
	f := newFleet(1200, share("1%"), share("10%"), share("100%"))
	var sizes []int
	for i := range 3 {
		f.row.Plan.Stages[i].Bake = Duration(2 * time.Second)
	}
	for f.row.State == Running {
		f.pass(500 * time.Millisecond)
		if n := len(f.on()); !slices.Contains(sizes, n) {
			sizes = append(sizes, n)
		}
	}
	last := f.orders[len(f.orders)-1]
	if f.is(t, Promoted, 3); !last.Promote || !slices.Equal(sizes, []int{12, 120, 1200}) || f.w.Now < 6*time.Second || f.w.Now > 8*time.Second {
		t.Fatalf("promote %v after %s, stages %v", last.Promote, f.w.Now, sizes)
	}
}

func TestBadVersion(t *testing.T) {
	f := newFleet(100, share("3%"), share("100%"))
	for _, n := range f.w.Nodes {
		f.broken[n.Name] = "check"
	}
	f.step()
	f.is(t, Reverted, 0)
	w := f.orders[len(f.orders)-1].Withdraw
	if len(f.m.Admitted) != 3 || w == nil || len(w.Nodes) != 3 || !strings.Contains(w.Reason, "(check)") {
		t.Fatalf("%d admitted, withdrawn %+v", len(f.m.Admitted), w)
	}
}

func TestSilence(t *testing.T) {
	for _, test := range []struct {
		may  int
		want State
	}{{0, Reverted}, {1, Promoted}} {
		f := newFleet(10, share("50%"), share("100%"))
		f.row.Plan.MaxFailed = &test.may
		f.mute[f.node(0).Name], f.node(0).Here = true, true
		f.pass(Silence - 500*time.Millisecond)
		f.is(t, Running, 0)
		f.node(0).Here = false
		f.pass(time.Second)
		if f.row.State != test.want || f.m.Failed[f.node(0).Name].Reason != "silence" {
			t.Errorf("%d may fail: %s, %v", test.may, f.row.State, f.m.Failed)
		}
	}
	// Healthy once is not healthy for good: it dies in the bake.
	f := newFleet(10, share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(time.Minute)
	f.pass(5 * time.Second)
	f.mute[f.node(3).Name], f.node(3).Here = true, false
	f.pass(70 * time.Second)
	if f.is(t, Reverted, 0); !strings.Contains(f.row.Reason, f.node(3).Name+" (silence)") {
		t.Fatal(f.row.Reason)
	}
	// The only node of the stage dies: nothing else is waited for.
	f = newFleet(10, Stage{Count: 1}, share("100%"))
	f.mute[f.node(0).Name] = true
	f.pass(Silence + Unheard)
	if f.is(t, Reverted, 0); !strings.Contains(f.row.Reason, "(silence)") {
		t.Fatal(f.row.Reason)
	}
}

// TestDamaged proves that a candidate that no node can get is given up at once.
func TestDamaged(t *testing.T) {
	f := newFleet(10, Stage{Count: 1, Bake: Duration(time.Minute)}, share("100%"))
	f.w.Damaged = "the candidate in the store is damaged"
	f.step()
	if f.is(t, Reverted, 0); f.row.Reason != f.w.Damaged || len(f.on()) > 0 {
		t.Fatal(f.row.Reason, f.on())
	}
}

// TestAsked proves that the last word before the end of a stage is asked for: a report from before the question is not enough.
func TestAsked(t *testing.T) {
	f := newFleet(3, Stage{Share: share("100%").Share, Bake: 1})
	f.m, _ = Step(f.row, f.m, f.w, f.hub)
	f.row.Controller = f.hub
	for i := range f.w.Nodes {
		f.w.Nodes[i].On, f.w.Nodes[i].Health.State = "r1", Healthy
	}
	f.bake()
	var o Orders
	for range 3 {
		if f.m, o = Step(f.row, f.m, f.w, f.hub); o.Promote || !f.m.Asked {
			t.Fatal(o, f.m)
		}
	}
	for i := range f.w.Nodes {
		f.w.Nodes[i].Health.Ask = f.m.Ask
		if f.m, o = Step(f.row, f.m, f.w, f.hub); o.Promote != (i == 2) {
			t.Fatal(i, o)
		}
	}
}

// TestAskedWithoutBake proves that a node of an earlier stage must report once more, although nothing bakes.
func TestAskedWithoutBake(t *testing.T) {
	f := newFleet(10, share("50%"), share("100%"))
	one := func() (o Orders) {
		f.w.Now += time.Second
		f.m, o = Step(f.row, f.m, f.w, f.hub)
		f.row = o.Row
		return o
	}
	one()
	f.report()
	first := f.node(0).Name
	f.mute[first] = true
	one()
	f.report()
	for range 3 {
		if o := one(); o.Promote || !f.m.Asked {
			t.Fatal(o, f.m)
		}
	}
	delete(f.mute, first)
	f.report()
	if o := one(); !o.Promote {
		t.Fatal(o, f.m)
	}
}

func TestTimeout(t *testing.T) {
	f := newFleet(10, share("100%"))
	f.row.Plan.Timeout = Duration(20 * time.Second)
	f.broken[f.node(0).Name] = "slow"
	f.pass(19 * time.Second)
	f.is(t, Running, 0)
	f.pass(time.Second)
	if f.is(t, Reverted, 0); !strings.Contains(f.row.Reason, "no progress for 20s") || !strings.Contains(f.row.Reason, f.node(0).Name) {
		t.Fatal(f.row.Reason)
	}
	// A node that goes back slowly has the time of the timeout for that, too.
	f = newFleet(10, share("100%"))
	f.broken[f.node(0).Name] = "slow"
	f.step()
	f.mute[f.node(0).Name] = true
	f.node(0).Heard = time.Hour
	f.pass(DefaultTimeout + time.Second)
	f.is(t, Reverting, 0)
	f.pass(DefaultTimeout)
	f.is(t, Reverted, 0)
	// Each node that becomes healthy is progress.
	f = newFleet(10, share("100%"))
	for _, n := range f.w.Nodes {
		f.broken[n.Name] = "slow"
	}
	for _, n := range f.w.Nodes {
		f.pass(40 * time.Second)
		delete(f.broken, n.Name)
	}
	f.pass(time.Second)
	f.is(t, Promoted, 1)
	f = newFleet(0, share("100%"))
	f.step()
	f.pass(DefaultTimeout - time.Second)
	f.is(t, Running, 0)
	f.pass(time.Second)
	f.is(t, Reverted, 0)
}

// TestBake proves that all nodes are healthy for the whole bake, and that a node that is not for a moment costs no rollout.
func TestBake(t *testing.T) {
	f := newFleet(10, share("100%"))
	f.row.Plan.Stages[0].Bake, f.row.Plan.Timeout = Duration(50*time.Second), Duration(50*time.Second)
	f.pass(40 * time.Second)
	f.broken[f.node(0).Name] = "slow"
	f.pass(5 * time.Second)
	delete(f.broken, f.node(0).Name)
	f.pass(49 * time.Second)
	f.is(t, Running, 0)
	f.pass(time.Second)
	f.is(t, Promoted, 1)
	// One that comes and goes for ever does.
	f = newFleet(10, share("100%"))
	f.row.Plan.Stages[0].Bake, f.row.Plan.Timeout = Duration(2*time.Second), Duration(20*time.Second)
	for range 40 {
		f.pass(time.Second)
		f.broken[f.node(0).Name] = "slow"
		f.pass(time.Second)
		delete(f.broken, f.node(0).Name)
	}
	f.is(t, Reverted, 0)
}
