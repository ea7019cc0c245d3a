package rollout

import (
	"testing"
	"time"
)

func TestPauseBefore(t *testing.T) {
	f := newFleet(10, share("10%"), share("100%"))
	f.row.Plan.Stages[1].PauseBefore = true
	f.pass(5 * time.Minute)
	f.is(t, Paused, 1)
	row, err := f.row.Resume()
	f.order(t, row, err)
	f.is(t, Paused, 1)
	row, err = f.row.Promote(false)
	f.order(t, row, err)
	f.is(t, Promoted, 2)
	// Ordered ahead.
	f = newFleet(10, share("10%"), share("50%"), share("100%"))
	f.row.Plan.Stages[2].PauseBefore = true
	row, err = f.row.Promote(false)
	if _, again := row.Promote(false); again == nil {
		t.Fatal("it was ordered twice")
	}
	f.order(t, row, err)
	f.is(t, Promoted, 3)
}

func TestPaused(t *testing.T) {
	f := newFleet(10, share("10%"), share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(5 * time.Second)
	f.pass(3 * time.Second)
	row, err := f.row.Pause("look")
	f.order(t, row, err)
	counter := f.row.Counter
	f.pass(5 * time.Minute)
	if f.is(t, Paused, 0); f.row.Counter < counter+300 || f.row.Reason != "look" {
		t.Fatalf("%+v: it counted up by %d", f.row, f.row.Counter-counter)
	}
	row, err = f.row.Resume()
	f.order(t, row, err)
	f.pass(4 * time.Second)
	f.is(t, Running, 0)
	f.pass(time.Second)
	f.is(t, Promoted, 2)
	// A failure counts.
	f = newFleet(10, share("10%"), share("100%"))
	f.row.Plan.Stages[1].PauseBefore = true
	f.step()
	f.broken[f.node(0).Name] = "probe"
	f.pass(time.Second)
	f.is(t, Reverted, 1)
}

func TestHalted(t *testing.T) {
	f := newFleet(10, share("20%"), share("100%"))
	f.row.Plan.OnFailure = Halt
	f.broken[f.node(0).Name] = "exec"
	f.pass(5 * time.Minute)
	if f.is(t, Halted, 0); len(f.on()) != 1 || len(f.m.Admitted) != 2 {
		t.Fatal(f.on())
	}
	full, err := f.row.Promote(false)
	if _, o := Step(full, f.m, f.w, f.hub); err != nil || !o.Promote {
		t.Fatal(o, err)
	}
	row, err := f.row.Resume()
	f.order(t, row, err)
	if f.is(t, Promoted, 2); len(f.on()) != 9 {
		t.Fatal(f.on())
	}
}

func TestAbort(t *testing.T) {
	f := newFleet(10, share("20%"), share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(time.Minute)
	f.pass(5 * time.Second)
	f.mute[f.node(0).Name], f.node(0).Here = true, false
	f.mute[f.node(1).Name] = true
	row, err := f.row.Abort("wrong file")
	f.order(t, row, err)
	f.pass(DefaultTimeout - time.Second)
	f.is(t, Reverting, 0)
	f.pass(time.Second)
	w := f.orders[len(f.orders)-1].Withdraw
	if f.is(t, Aborted, 0); w == nil || w.Reason != "wrong file; not back yet: "+f.node(1).Name {
		t.Fatal(w)
	}
	if _, err := f.row.Abort(""); err == nil {
		t.Fatal("an ended rollout is aborted")
	}
	// Nodes that never began need not go back; but what they begin may not be known yet.
	f = newFleet(10, share("20%"), share("100%"))
	m, o := Step(f.row, f.m, f.w, f.hub)
	f.m = m
	f.row, _ = o.Row.Abort("")
	for i := range f.w.Nodes {
		f.mute[f.w.Nodes[i].Name] = true
	}
	f.step()
	f.is(t, Reverting, 0)
	f.pass(Unheard)
	f.is(t, Aborted, 0)
}

func TestStopped(t *testing.T) {
	f := newFleet(10, share("10%"), share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(5 * time.Second)
	f.pass(3 * time.Second)
	f.w.Stopped = true
	f.pass(5 * time.Minute)
	if f.is(t, Running, 0); len(f.on()) != 1 {
		t.Fatal(f.on())
	}
	f.w.Stopped = false
	f.pass(4 * time.Second)
	f.is(t, Running, 0)
	f.pass(2 * time.Second)
	f.is(t, Promoted, 2)
}

func TestOvertaken(t *testing.T) {
	for current, want := range map[Current]State{IsOther: Superseded, IsGone: Aborted, IsCandidate: Promoted, Unknown: Running} {
		for _, state := range []State{Running, Paused, Halted, Reverting} {
			f := newFleet(10, Stage{Count: 1, Bake: Duration(time.Minute)}, share("100%"))
			f.step()
			f.row.State, f.w.Current = state, current
			_, o := Step(f.row, f.m, f.w, f.hub)
			if current == Unknown {
				want = state
			}
			if o.Row.State != want || o.Promote || (o.Withdraw != nil) != (want == Superseded || want == Aborted) {
				t.Errorf("%s and %s: %+v", state, current, o)
			}
		}
	}
}
