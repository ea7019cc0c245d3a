package rollout

import (
	"maps"
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

// TestExactly proves that a stage has exactly the nodes that its policy says.
func TestExactly(t *testing.T) {
	canary := Stage{Nodes: map[string]string{"role": "canary"}}
	for _, test := range []struct {
		n      int
		stages []Stage
		want   []int
	}{
		{1, []Stage{share("1%"), share("10%"), share("100%")}, []int{1, 1, 1}},
		{3, []Stage{share("1%"), share("34%"), share("100%")}, []int{1, 2, 3}},
		{100, []Stage{share("0.01%"), share("10%"), share("10.01%"), share("100%")}, []int{1, 10, 11, 100}},
		{1200, []Stage{share("0.25%"), share("33.33%"), share("100%")}, []int{3, 400, 1200}},
		{100, []Stage{{Count: 3}, {Count: 7}, share("100%")}, []int{3, 7, 100}},
		{4, []Stage{{Count: 30}, share("100%")}, []int{4, 4}},
		{100, []Stage{canary, share("6%"), share("100%")}, []int{5, 6, 100}},
		{100, []Stage{canary, share("2%"), share("100%")}, []int{5, 5, 100}},
		{100, []Stage{canary, {Nodes: map[string]string{"more": "1"}}, share("100%")}, []int{5, 10, 100}},
		{100, []Stage{{Nodes: map[string]string{"role": "none"}}, share("100%")}, []int{1, 100}},
	} {
		f := newFleet(test.n, test.stages...)
		for i := range f.w.Nodes {
			if i < 10 {
				f.w.Nodes[i].Labels = map[string]string{"role": []string{"canary", "web"}[i%2], "more": "1"}
			}
		}
		preview := f.row.Plan.Preview(f.w.Nodes, nil)
		var got []int
		for range test.stages {
			m, o := Step(f.row, f.m, f.w, f.hub)
			f.m, f.row = m, o.Row
			got = append(got, len(m.Admitted))
			f.report()
			m, o = Step(f.row, f.m, f.w, f.hub) // it asks
			f.m, f.row = m, o.Row
			f.report()
		}
		if f.step(); !slices.Equal(got, test.want) || !slices.Equal(preview.Stages, test.want) || f.row.State != Promoted {
			t.Errorf("%d nodes: %v, preview %v, want %v, at last %s", test.n, got, preview.Stages, test.want, f.row.State)
		}
	}
}

// TestLabelsFirst proves that the nodes of a label come first, and that a node stays admitted whatever its labels become.
func TestLabelsFirst(t *testing.T) {
	f := newFleet(20, Stage{Nodes: map[string]string{"role": "canary"}, Bake: Duration(time.Second)}, share("100%"))
	f.row.Plan.Stages[1].PauseBefore = true
	f.w.Nodes[7].Labels = map[string]string{"role": "canary"}
	if f.step(); !slices.Equal(f.on(), []string{"n0007"}) {
		t.Fatal(f.on())
	}
	f.w.Nodes[7].Labels, f.w.Nodes[8].Labels = nil, map[string]string{"role": "canary"}
	if f.pass(2 * time.Second); !slices.Equal(f.on(), []string{"n0007"}) {
		t.Fatal(f.on())
	}
	f.is(t, Paused, 1)
}

// TestLeftOut proves that locked, old and absent nodes do not count, and that a late one waits for the next stage.
func TestLeftOut(t *testing.T) {
	f := newFleet(10, share("50%"), share("100%"))
	f.row.Plan.Stages[0].Bake = Duration(time.Second)
	f.node(0).Locked, f.node(1).Old, f.node(2).Here = true, true, false
	f.step()
	if f.row.Counted != 7 || len(f.on()) != 4 || len(f.m.Left) != 3 {
		t.Fatal(f.row.Counted, f.on(), f.m.Left)
	}
	f.node(2).Here = true // before the threshold
	f.pass(500 * time.Millisecond)
	if len(f.on()) != 4 || f.m.Admitted[f.node(2).Name] {
		t.Fatal(f.on())
	}
	f.pass(2 * time.Second)
	if f.is(t, Promoted, 2); !f.m.Admitted[f.node(2).Name] || f.m.Admitted[f.node(0).Name] || f.m.Admitted[f.node(1).Name] {
		t.Fatal(f.m.Admitted)
	}
}

func TestThreshold(t *testing.T) {
	low, high := Threshold{0, "f"}, Threshold{1, "a"}
	if !high.After(low) || low.After(high) || low.After(low) || !(Threshold{1, "b"}).After(high) {
		t.Fatal("the order of thresholds")
	}
}

func TestAtATime(t *testing.T) {
	f := newFleet(300, Stage{Share: share("100%").Share, MaxUnavailable: 10})
	for _, n := range f.w.Nodes {
		f.broken[n.Name] = "slow"
	}
	for rounds := 0; f.row.State == Running; rounds++ {
		f.step()
		slow := 0
		for name := range f.m.Admitted {
			if f.broken[name] != "" {
				slow++
				delete(f.broken, name)
			}
		}
		if slow > 10 || rounds > 60 {
			t.Fatalf("%d at a time, round %d", slow, rounds)
		}
		f.pass(500 * time.Millisecond)
	}
	f.is(t, Promoted, 1)
}

// TestUnavailable proves that failed and silent nodes count as not healthy, although they may fail.
func TestUnavailable(t *testing.T) {
	one := 1
	for _, how := range []string{"exec", "dead"} {
		f := newFleet(10, Stage{Share: share("100%").Share, MaxUnavailable: 1, Bake: Duration(time.Second)})
		f.row.Plan.MaxFailed, f.row.Plan.OnFailure = &one, Halt
		f.step()
		if len(f.on()) != 10 {
			t.Fatal(f.on())
		}
		f = newFleet(10, f.row.Plan.Stages...)
		f.row.Plan.MaxFailed, f.row.Plan.OnFailure = &one, Halt
		second := f.node(1)
		if f.broken[second.Name] = how; how == "dead" {
			f.mute[second.Name] = true
		}
		f.pass(50 * time.Second)
		if f.is(t, Running, 0); len(f.m.Admitted) != 2 {
			t.Fatal(how, f.m.Admitted)
		}
		f.pass(15 * time.Second)
		if f.is(t, Halted, 0); !strings.Contains(f.row.Reason, "no progress") {
			t.Fatal(f.row.Reason)
		}
		row, err := f.row.Resume() // with the node forgiven
		f.order(t, row, err)
		f.pass(2 * time.Second)
		f.is(t, Promoted, 1)
	}
	// A node that was healthy long ago is not, although others were admitted lately.
	f := newFleet(30, Stage{Share: share("100%").Share, MaxUnavailable: 1})
	first := f.node(0).Name
	for range 60 {
		if len(f.m.Admitted) == 3 {
			f.mute[first] = true
		}
		for name := range f.m.Admitted {
			delete(f.broken, name)
		}
		for _, n := range f.w.Nodes {
			if !f.m.Admitted[n.Name] {
				f.broken[n.Name] = "slow"
			}
		}
		f.pass(time.Second)
	}
	if f.is(t, Running, 0); len(f.m.Admitted) > 16 {
		t.Fatal(len(f.m.Admitted))
	}
}

// TestLockedLater proves that a node that is locked after it was admitted is left alone, but that one node must be healthy.
func TestLockedLater(t *testing.T) {
	for _, locked := range []int{1, 2} {
		f := newFleet(2, share("100%"))
		f.row.Plan.Stages[0].Bake = Duration(5 * time.Second)
		f.step()
		for i := range locked {
			f.w.Nodes[i].Locked, f.mute[f.w.Nodes[i].Name] = true, true
			f.w.Nodes[i].Health.State = Frozen
		}
		f.pass(20 * time.Second)
		if want := []State{Promoted, Running}[locked-1]; f.row.State != want {
			t.Errorf("%d locked: %s", locked, f.row.State)
		}
		f.pass(50 * time.Second)
		if want := []State{Promoted, Reverted}[locked-1]; f.row.State != want {
			t.Errorf("%d locked, in the end: %s (%s)", locked, f.row.State, f.row.Reason)
		}
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
}

// TestAsked proves that the last word before the end of a stage is asked for: a report from before the question is not enough.
func TestAsked(t *testing.T) {
	f := newFleet(3, share("100%"))
	f.m, _ = Step(f.row, f.m, f.w, f.hub)
	f.row.Controller = f.hub
	for i := range f.w.Nodes {
		f.w.Nodes[i].On, f.w.Nodes[i].Health.State = "r1", Healthy
	}
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

func TestGates(t *testing.T) {
	f := newFleet(10, share("50%"), share("100%"))
	f.row.Plan.Gates = []string{"dns", "web"}
	var ran []string
	for f.row.State == Running && len(ran) < 4 {
		f.step()
		if f.row.Gate == "" || f.w.Gates[f.row.Gate].Done {
			t.Fatal(f.row, f.w.Gates)
		}
		ran = append(ran, f.row.Gate)
		f.w.Gates[f.row.Gate] = GateResult{Done: true, Passed: true}
		if len(ran) == 4 {
			f.w.Gates["web"] = GateResult{Done: true, Detail: "no answer"}
		}
	}
	if !slices.Equal(ran, []string{"dns", "web", "dns", "web"}) {
		t.Fatal(ran)
	}
	f.step()
	if f.is(t, Reverted, 1); f.row.Reason != "the gate web failed: no answer" || f.row.Gate != "" {
		t.Fatal(f.row)
	}
}

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
	f = newFleet(10, share("10%"), share("100%"))
	f.row.Plan.Stages[1].PauseBefore = true
	row, err = f.row.Promote(false)
	f.order(t, row, err)
	f.is(t, Promoted, 2)
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
	// Nodes that never began need not go back.
	f = newFleet(10, share("20%"), share("100%"))
	m, o := Step(f.row, f.m, f.w, f.hub)
	f.m = m
	f.row, _ = o.Row.Abort("")
	for i := range f.w.Nodes {
		f.mute[f.w.Nodes[i].Name] = true
	}
	f.step()
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
	f.node(0).On = "" // of this one, nothing is known at all
	f.takeOver("hub#2", false)
	f.pass(9 * time.Second)
	if f.is(t, Running, 0); len(f.m.Admitted) != 9 {
		t.Fatal(len(f.m.Admitted))
	}
	f.pass(10 * time.Second)
	if f.is(t, Reverted, 0); !strings.Contains(f.row.Reason, "3 nodes failed, 0 may: ") ||
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
	m, o := Step(f.row, f.m, f.w, f.hub)
	f.m, f.row = m, o.Row
	was := f.m.Admitted
	f.takeOver("hub#2", true)
	m, o = Step(f.row, f.m, f.w, f.hub)
	if f.m, f.row = m, o.Row; !maps.Equal(m.Admitted, was) || o.Row.Admitted != 10 || o.Row.Counted != 20 {
		t.Fatal(m.Admitted, o.Row)
	}
	f.report()
	m, o = Step(f.row, f.m, f.w, f.hub)
	if f.m, f.row = m, o.Row; !m.Asked {
		t.Fatal(m)
	}
	f.broken[f.node(3).Name] = "slow"
	f.step()
	delete(f.broken, f.node(3).Name)
	f.report()
	for range 2 {
		m, o = Step(f.row, f.m, f.w, f.hub) // it asks a second time
		f.m, f.row = m, o.Row
	}
	f.report()
	f.takeOver("hub#3", false) // all answers are there
	for range 3 {
		m, o = Step(f.row, f.m, f.w, f.hub)
		if f.m, f.row = m, o.Row; o.Row.Stage != 0 {
			t.Fatal("an answer to the first hub counts for the second")
		}
	}
	f.step()
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
	f.mute[f.node(4).Name], f.node(4).Here, f.node(4).On = true, false, ""
	f.takeOver("hub#2", false)
	f.pass(Silence - time.Second)
	f.is(t, Running, 0)
	f.pass(2 * time.Second)
	f.is(t, Reverted, 0)
}

func TestForeign(t *testing.T) {
	f := newFleet(20, share("50%"), share("100%"))
	f.step()
	f.row.Controller, f.row.State = "other#1", Running
	if m, o := Step(f.row, f.m, f.w, f.hub); o.Write || m.Rollout != "" || o.Row.Counter != f.row.Counter {
		t.Fatal(o)
	}
}

func TestPreview(t *testing.T) {
	f := newFleet(3, Stage{Nodes: map[string]string{"role": "canary"}}, share("100%"))
	f.row.Plan.Gates = []string{"dns"}
	problems := func(known bool) string {
		return strings.Join(f.row.Plan.Preview(f.w.Nodes, func(string) bool { return known }).Problems, "\n")
	}
	if got := problems(false); !strings.Contains(got, "the labels role=canary") || !strings.Contains(got, "no gate dns") {
		t.Error(got)
	}
	f.w.Nodes[0].Labels, f.w.Nodes[1].Probed = map[string]string{"role": "canary"}, true
	if got := problems(true); !strings.Contains(got, "the target on n0001 has a probe: give the stage role=canary") {
		t.Error(got)
	}
	for i, why := range []string{"no agent with a target", "locked the file", "take part: n0000: its agent does not know"} {
		for j := range f.w.Nodes {
			f.w.Nodes[j] = Node{Name: f.w.Nodes[j].Name, Here: i > 0, Locked: i == 1, Old: i == 2}
		}
		if got := problems(true); !strings.Contains(got, why) {
			t.Errorf("%s: %s", why, got)
		}
	}
}

func TestView(t *testing.T) {
	f := newFleet(20, share("10%"), share("50%"), share("100%"))
	for i := range 2 {
		f.row.Plan.Stages[i].Bake = Duration(5 * time.Second)
	}
	f.row.Plan.Stages[1].PauseBefore = true
	most := 1
	f.row.Plan.MaxFailed = &most
	f.node(0).Locked = true
	f.broken[f.node(1).Name] = "exec"
	f.step()
	check := func(what string, i int, want StageView) {
		t.Helper()
		v := ViewFrom(f.row, f.m, f.w)
		want.Name = v.Stages[i].Name
		if got := v.Stages[i]; got != want || len(v.Left) != 1 || v.Left[0] != (LeftOut{f.node(0).Name, "locked"}) ||
			len(v.Failed) != 1 || v.Failed[0].Node != f.node(1).Name {
			t.Errorf("%s: stage %d is %+v instead of %+v; %+v", what, i, got, want, v)
		}
	}
	check("in the bake", 0, StageView{Nodes: 2, Admitted: 2, Healthy: 1, Failed: 1, Waits: "its bake: 5s left"})
	check("in the bake", 1, StageView{Nodes: 10})
	f.pass(6 * time.Second)
	check("before the second", 0, StageView{Nodes: 2, Admitted: 2, Healthy: 1, Failed: 1, Done: true})
	check("before the second", 1, StageView{Nodes: 10, Admitted: 2, Healthy: 1, Failed: 1,
		Waits: "`kvexpress rollout promote -k hosts` lets stage 2 (50%) begin"})
	slow := f.node(4).Name
	f.broken[slow] = "slow"
	row, err := f.row.Promote(false)
	f.order(t, row, err)
	check("in the second", 1, StageView{Nodes: 10, Admitted: 10, Healthy: 8, Failed: 1, Waits: slow})
	check("in the second", 2, StageView{Nodes: 19})
	f.w.Stopped = true
	check("stopped", 1, StageView{Nodes: 10, Admitted: 10, Healthy: 8, Failed: 1,
		Waits: "`kvexpress resume -k hosts`: the key is stopped"})
	if v := ViewFrom(f.row, Memory{}, f.w); len(v.Stages) != 3 || !v.Stages[0].Done || v.Stages[0].Nodes != 0 {
		t.Errorf("of another hub: %+v", v)
	}
}
