package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A stage: open it and count its nodes, admit them, wait until all are healthy, bake, ask all of them, run the gates.

// open begins the stage of the row. It reports whether the stage is open: it is not while it waits for a person, or if no node
// can be counted.
func (s *step) open() bool {
	stage := s.row.Plan.Stages[s.row.Stage]
	if stage.PauseBefore && s.row.Go < s.row.Stage {
		s.enter(Paused, fmt.Sprintf("`kvexpress rollout promote -k %s` lets stage %d (%s) begin",
			s.row.Key, s.row.Stage+1, stage.Name()))
		return false
	}
	owed := s.owed()
	if owed > 0 && s.w.Now-s.m.Raised < Silence {
		return false // they may connect again, and no other node is taken for them
	}
	order, left := s.order()
	if s.m.Left = left; !slices.ContainsFunc(order, func(p Placed) bool { return s.ready(p.Name) }) {
		return false
	}
	s.m.Order, s.m.Want = order, s.row.Plan.wants(s.row.Stage, append(firsts(order), make([]int, owed)...))-owed
	s.m.Progress, s.row.Counted, s.row.Reason = s.w.Now, len(order)+owed, ""
	return true
}

// order has the nodes that a stage counts now, in their order, and those that it leaves out.
func (s *step) order() (order []Placed, left []LeftOut) {
	counted, left := count(s.w.Nodes)
	for _, n := range counted {
		order = append(order, Placed{n.Name, s.row.Place(n.Name, n.Labels)})
	}
	// Admitted nodes count, wherever they are now.
	for name := range s.m.Admitted {
		if n := s.nodes[name]; n == nil {
			order = append(order, Placed{Name: name})
		} else if !s.ready(name) {
			order = append(order, Placed{name, s.row.Place(name, n.Labels)})
		}
	}
	slices.SortFunc(order, func(a, b Placed) int {
		return cmp.Or(cmp.Compare(a.At.Stage, b.At.Stage), cmp.Compare(a.At.Hash, b.At.Hash), cmp.Compare(a.Name, b.Name))
	})
	return order, left
}

// count separates the nodes that a stage counts from those that it leaves out.
func count(nodes []Node) (counted []Node, left []LeftOut) {
	for _, n := range nodes {
		switch {
		case !n.Here:
			left = append(left, LeftOut{n.Name, "no contact with a hub"})
		case n.Old:
			left = append(left, LeftOut{n.Name, "its agent does not know rollouts"})
		case n.Locked:
			left = append(left, LeftOut{n.Name, "locked"})
		default:
			counted = append(counted, n)
		}
	}
	return counted, left
}

// firsts has for each counted node the first stage whose labels it has.
func firsts(order []Placed) []int {
	stages := make([]int, len(order))
	for i, p := range order {
		stages[i] = p.At.Stage
	}
	return stages
}

// wants is how many of the counted nodes the stage i has, those of the stages before included: at least one.
func (p Plan) wants(i int, firsts []int) int {
	n := 1
	for j, stage := range p.Stages[:i+1] {
		switch {
		case len(stage.Nodes) > 0:
			here := 0
			for _, f := range firsts {
				if f <= j {
					here++
				}
			}
			n = max(n, here)
		case stage.Count > 0:
			n = max(n, stage.Count)
		default:
			n = max(n, stage.Share.Of(len(firsts)))
		}
	}
	return min(n, len(firsts))
}

// admit raises the threshold, by as many nodes as the stage allows now.
func (s *step) admit() {
	if s.m.Full {
		return
	}
	want := s.m.Want
	var next []Placed
	for _, p := range s.m.Order {
		if s.m.Admitted[p.Name] {
			want--
		} else if s.ready(p.Name) {
			next = append(next, p)
		}
	}
	want = min(max(0, want), len(next))
	now := want
	if most := s.row.Plan.Stages[s.m.Stage].MaxUnavailable; most > 0 {
		now = max(0, min(want, most-s.unavailable()))
	}
	for _, p := range next[:now] {
		s.m.Admitted[p.Name] = true
		s.row.AdmittedSum = sum(s.row.AdmittedSum, s.row.Place(p.Name, nil).Hash)
		if p.At.After(s.row.Threshold) {
			s.row.Threshold = p.At
		}
	}
	s.m.Full = want == now
	if now > 0 {
		s.m.Progress, s.m.Raised, s.m.Baking, s.m.Asked = s.w.Now, s.w.Now, false, false
		s.m.Earlier = len(s.m.Admitted) > now
		s.m.Owed += now
	}
}

// ready reports whether a node can be admitted now.
func (s *step) ready(name string) bool {
	n := s.nodes[name]
	return n != nil && n.Here && !n.Locked && !n.Old
}

// owed is how many nodes an earlier controller admitted that are not known yet, whatever this one has admitted since.
func (s *step) owed() int { return max(0, s.m.Owed-len(s.m.Admitted)) }

// recognize finds the nodes that earlier controllers admitted. Those that never got the candidate do not say so: they are the
// nodes up to the threshold, if these are as many as the row says, and no others.
func (s *step) recognize() {
	if s.owed() == 0 {
		return
	}
	var who string
	for name := range s.m.Admitted {
		who = sum(who, s.row.Place(name, nil).Hash)
	}
	var unknown []string
	for name, n := range s.nodes {
		if at := s.row.Place(name, n.Labels); !s.m.Admitted[name] && !at.After(s.row.Threshold) {
			who, unknown = sum(who, at.Hash), append(unknown, name)
		}
	}
	if len(unknown) == s.owed() && who == s.row.AdmittedSum {
		for _, name := range unknown {
			s.m.Admitted[name] = true
		}
	}
}

// endStage moves the stage on: bake, questions, gates, the next stage. If a node is not healthy any more, the bake begins anew.
// One node at least must be healthy, however many may fail.
func (s *step) endStage() {
	c := s.count()
	if c.waiting == 0 && c.healthy == 0 && s.m.Full && c.failed+c.silent > s.row.Plan.MaxFailures(s.row.Counted) {
		s.giveUpSilent() // there is nothing to bake
		s.tooMany()
		return
	}
	if c.waiting > 0 || c.healthy == 0 || !s.m.Full {
		if s.m.Baking {
			s.endBake()
		}
		s.m.Asked = false
		return
	}
	if s.row.Plan.Stages[s.m.Stage].Bake > 0 {
		if !s.m.Baking && !s.m.Asked {
			s.m.Baking, s.m.BakeFrom = true, s.w.Now
		}
		if s.m.Baking {
			if s.w.Now < s.bakeEnd() {
				return
			}
			s.endBake()
			s.askAll()
			c = s.count()
		}
		if c.unanswered > 0 {
			return
		}
	} else if s.m.Earlier || c.before > 0 { // else each report is of a candidate that was just admitted: no question
		if !s.m.Asked {
			s.askAll()
			c = s.count()
		}
		if c.before > 0 || c.unanswered > 0 {
			return
		}
	}
	s.giveUpSilent()
	if s.tooMany() || !s.gates() {
		return
	}
	s.row.Stage++
	s.closeStage()
	if s.m.Stage == len(s.row.Plan.Stages) {
		s.promote()
	} else if s.open() {
		s.admit()
	}
}

// askAll asks all nodes. Its number is above each answer so far: in a restored snapshot of the store, the counter is older, and
// the number that comes from it may be one that nodes have answered already.
func (s *step) askAll() {
	s.m.Asked = true
	for _, n := range s.w.Nodes {
		s.m.Ask = max(s.m.Ask, n.Health.Ask)
	}
	s.m.Ask++
}

// bakeEnd is when the bake ends.
func (s *step) bakeEnd() time.Duration {
	return s.m.BakeFrom + time.Duration(s.row.Plan.Stages[s.m.Stage].Bake)
}

// endBake ends the bake. Its time does not count for the timeout.
func (s *step) endBake() {
	s.m.Baking = false
	s.m.Progress = min(s.m.Progress+s.w.Now-s.m.BakeFrom, s.w.Now)
}

// gates runs the gates, one at a time. It reports whether all have passed.
func (s *step) gates() bool {
	for _, name := range s.row.Plan.Gates {
		result := s.w.Gates[name]
		switch {
		case !s.m.Ran[name]:
			s.m.Ran[name], s.row.Gate, s.o.RunGate, s.m.Progress = true, name, name, s.w.Now
			return false
		case !result.Done:
			return false
		case !result.Passed:
			s.fail(fmt.Sprintf("the gate %s failed: %s", name, result.Detail))
			return false
		}
	}
	s.row.Gate = ""
	return true
}

// promote makes the candidate current. While the store denies that, the rollout waits, for its timeout at most.
func (s *step) promote() {
	if s.w.Denied != "" {
		s.row.Gate, s.row.Reason = "", s.w.Denied
		s.timeout()
		return
	}
	s.enter(Promoted, "")
	s.row.Gate, s.o.Promote = "", true
}
