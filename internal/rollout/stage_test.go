package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"
)

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
		got := make([]int, len(test.stages))
		for range 2 * len(test.stages) { // a stage may end with a question
			m, o := Step(f.row, f.m, f.w, f.hub)
			f.m, f.row = m, o.Row
			if m.Stage < len(got) {
				got[m.Stage] = len(m.Admitted)
			}
			f.report()
		}
		if f.step(); !slices.Equal(got, test.want) || !slices.Equal(preview.Stages, test.want) || f.row.State != Promoted {
			t.Errorf("%d nodes: %v, preview %v, want %v, at last %s", test.n, got, preview.Stages, test.want, f.row.State)
		}
	}
}

// TestLateReport proves that a report on its way says nothing of a node that an earlier stage admitted: the last stage has no bake, and
// asks it.
func TestLateReport(t *testing.T) {
	f := newFleet(5, Stage{Count: 1}, share("100%"))
	step := func() {
		m, o := Step(f.row, f.m, f.w, f.hub)
		f.m, f.row = m, o.Row
	}
	step()
	f.report()
	first := slices.IndexFunc(f.w.Nodes, func(n Node) bool { return n.On == f.row.ID })
	for range 2 {
		step()
		said := f.w.Nodes[first].Health
		f.report()
		f.w.Nodes[first].Health = said // from before the stage, and heard now
	}
	if step(); f.row.State != Running || len(f.on()) != 5 {
		t.Fatalf("%s, %q have it", f.row.State, f.on())
	}
	f.report()
	if step(); f.row.State != Promoted {
		t.Fatal(f.row.State, f.row.Reason)
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
	if got := problems(true); !strings.Contains(got, "the target on n0001 has a probe: in the policy, give each stage a bake of at least 2s; shorter: role=canary, 100%") {
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
