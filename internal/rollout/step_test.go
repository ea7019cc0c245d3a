package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// fleet is a controller with a row and nodes, which report what the test says.
type fleet struct {
	row    Row
	m      Memory
	w      World
	hub    string
	orders []Orders // that changed something
	mute   map[string]bool
	broken map[string]string // nodes whose install fails, and why
}

func newFleet(n int, stages ...Stage) *fleet {
	f := &fleet{hub: "hub#1", w: World{Current: IsBase, Gates: map[string]GateResult{}}, mute: map[string]bool{}, broken: map[string]string{}}
	f.row = Row{ID: "r1", Key: "hosts", Version: 8, State: Running, Plan: Plan{Stages: stages}}
	for i := range n {
		f.w.Nodes = append(f.w.Nodes, Node{Name: fmt.Sprintf("n%04d", i), Here: true})
	}
	return f
}

// step runs steps until nothing changes. The time stands still.
func (f *fleet) step() {
	for range 50 {
		m, o := Step(f.row, f.m, f.w, f.hub)
		f.m = m
		if o.Write {
			f.row = o.Row
		}
		if o.RunGate != "" {
			delete(f.w.Gates, o.RunGate)
		}
		if o.Write {
			f.orders = append(f.orders, o)
		}
		if f.row.State.Ended() || !o.Write && !f.report() {
			return
		}
	}
	panic("the rollout does not come to rest")
}

// bake makes the last step of the shortest bake: it asks.
func (f *fleet) bake() Orders {
	var o Orders
	for range 2 {
		f.w.Now++
		f.m, o = Step(f.row, f.m, f.w, f.hub)
		f.row = o.Row
	}
	return o
}

// report lets each node say what it has to say. It reports whether anything was new.
func (f *fleet) report() (news bool) {
	for i := range f.w.Nodes {
		n := &f.w.Nodes[i]
		offered := f.row.State.Offers() && f.m.Admitted[n.Name]
		if !n.Here || f.mute[n.Name] || !offered && n.On == "" && n.Health.State == "" {
			continue
		}
		was := *n
		n.Heard = f.w.Now
		switch why := f.broken[n.Name]; {
		case !offered:
			n.On, n.Health.State = "", Back
		case why == "slow":
			n.Health.State = Installing
		case why != "":
			n.On, n.Health = "", Health{State: Failed, Reason: why, Ask: f.m.Ask}
		default:
			n.On, n.Health = f.row.ID, Health{State: Healthy, Ask: f.m.Ask}
		}
		news = news || was.Health != n.Health || was.On != n.On
	}
	return news
}

// pass lets time go by, in parts as a hub does.
func (f *fleet) pass(d time.Duration) {
	f.step()
	for end := f.w.Now + d; f.w.Now < end; {
		f.w.Now = min(end, f.w.Now+500*time.Millisecond)
		f.report()
		f.step()
	}
}

// takeOver lets another hub take the rollout over. It may know which nodes were admitted.
func (f *fleet) takeOver(hub string, knows bool) {
	if f.w.Admitted = nil; knows {
		f.w.Admitted = f.m.Admitted
	}
	f.hub, f.m, f.row.Controller = hub, Memory{}, ""
	clear(f.w.Gates)
}

// order writes what an operator orders.
func (f *fleet) order(t *testing.T, row Row, err error) {
	t.Helper()
	if err != nil || row.Counter != f.row.Counter+1 {
		t.Fatal(row, err)
	}
	f.row = row
	f.step()
}

// node is the node in the place i of the order.
func (f *fleet) node(i int) *Node {
	order := slices.SortedFunc(slices.Values(f.w.Nodes), func(a, b Node) int {
		return strings.Compare(f.row.Place(a.Name, nil).Hash, f.row.Place(b.Name, nil).Hash)
	})
	at := slices.IndexFunc(f.w.Nodes, func(n Node) bool { return n.Name == order[i].Name })
	return &f.w.Nodes[at]
}

func (f *fleet) on() (names []string) {
	for _, n := range f.w.Nodes {
		if n.On == f.row.ID {
			names = append(names, n.Name)
		}
	}
	return names
}

func (f *fleet) is(t *testing.T, state State, stage int) {
	t.Helper()
	if f.row.State != state || f.row.Stage != stage {
		t.Fatalf("%s in stage %d (%s), want %s in stage %d", f.row.State, f.row.Stage, f.row.Reason, state, stage)
	}
}

func share(text string) Stage {
	var s Stage
	if err := s.Share.Set(text); err != nil {
		panic(err)
	}
	return s
}

// In a restored snapshot of the store, the row has an older counter. The answer to a question from before is not an answer.
func TestAskAfterRestoredSnapshot(t *testing.T) {
	f := newFleet(1, Stage{Count: 1, Bake: Duration(1)}, Stage{Count: 1})
	f.step()
	f.w.Nodes[0].Health.Ask = f.m.Ask + 1000 // of a controller with a higher counter
	f.mute[f.w.Nodes[0].Name] = true
	f.bake()
	if f.row.Stage != 0 {
		t.Fatal("an old answer counts for the last question")
	}
	f.w.Nodes[0].Health.Ask = f.m.Ask
	if f.step(); f.row.Stage != 1 && f.row.State != Promoted {
		t.Errorf("the answer does not count: %+v", f.row)
	}
}
