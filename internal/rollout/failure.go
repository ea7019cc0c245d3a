package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What stops a rollout: failures, a timeout, other writers of the key; and the way back.

// noteFailures remembers the nodes that failed: a failure is final, whatever the node says later.
func (s *step) noteFailures() {
	for _, name := range s.named(failed) {
		if _, known := s.m.Failed[name]; !known {
			h := s.nodes[name].Health
			s.m.Failed[name] = FailedNode{Node: name, Reason: h.Reason, Detail: h.Detail}
		}
	}
}

// giveUpSilent makes the silent nodes failed, at the end of a stage.
func (s *step) giveUpSilent() {
	for _, name := range s.named(silent) {
		s.m.Failed[name] = FailedNode{Node: name, Reason: "silence", Detail: fmt.Sprintf("no report for %s", Silence)}
	}
	s.m.Lost += s.owed()
	s.m.Owed = 0
}

// failures are the names of the nodes that count as failed, sorted.
func (s *step) failures() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.m.Failed)), func(name string) bool { return s.m.Forgiven[name] })
}

// MaxFailures is how many of the counted nodes may fail.
func (p Plan) MaxFailures(counted int) int {
	if p.MaxFailed != nil {
		return *p.MaxFailed
	}
	return counted / 1000
}

// tooMany ends the way forward if more nodes failed than may. It reports whether it did.
func (s *step) tooMany() bool {
	names := s.failures()
	n, most := len(names)+s.m.Lost, s.row.Plan.MaxFailures(s.row.Counted)
	if n <= most {
		return false
	}
	for i, name := range names {
		f := s.m.Failed[name]
		names[i] = fmt.Sprintf("%s (%s)", name, f.Reason)
	}
	if s.m.Lost > 0 {
		names = append(names, lost(s.m.Lost))
	}
	s.fail(fmt.Sprintf("%s failed, and max_failed is %d: %s", nodes(n), most, list(names)))
	return true
}

// Patience is how long the rollout may be without progress.
func (p Plan) Patience() time.Duration { return cmp.Or(time.Duration(p.Timeout), DefaultTimeout) }

// timeout ends the way forward if nothing has gone forward for too long.
func (s *step) timeout() {
	most := s.row.Plan.Patience()
	if s.row.State == Running && !s.m.Baking && s.w.Now-s.m.Progress >= most {
		s.fail(fmt.Sprintf("no progress for %s; it waited for %s", most, s.waitsFor()))
	}
}

// fail is the reaction to a failure.
func (s *step) fail(reason string) {
	s.row.Gate, s.o.RunGate = "", ""
	if s.row.Plan.OnFailure == Halt {
		s.enter(Halted, reason)
		return
	}
	s.enter(Reverting, reason)
	s.row.End, s.m.Progress = Reverted, s.w.Now
}

// forgive leaves alone what had failed when an operator resumed a halted rollout.
func (s *step) forgive() {
	for _, name := range s.named(failed, silent) {
		s.m.Forgiven[name] = true
	}
	s.m.Lost, s.m.Owed = 0, 0
}

// revert ends the rollout when its nodes have the current version again, or time is over.
func (s *step) revert() {
	var late, locked []string
	for _, name := range slices.Sorted(maps.Keys(s.m.Admitted)) {
		n := s.nodes[name]
		// A node that was offered the candidate says something within a second; one that says nothing never got it.
		never := n != nil && n.Health.State == "" && n.On != s.row.ID && s.w.Now-s.m.Progress >= Unheard
		switch {
		case n == nil || !n.Here || never || n.Health.State == Back:
		case n.Locked:
			locked = append(locked, name)
		default:
			late = append(late, name)
		}
	}
	if len(late) > 0 && s.w.Now-s.m.Progress < s.row.Plan.Patience() {
		return
	}
	reason := s.row.Reason
	if late = append(late, locked...); len(late) > 0 {
		reason = strings.TrimPrefix(reason+"; not back yet: "+list(late), "; ")
	}
	end := s.row.End
	if !end.Ended() {
		end = Reverted
	}
	s.end(end, reason)
}

// overtaken ends the rollout because another publisher changed the key.
func (s *step) overtaken() {
	switch s.w.Current {
	case IsCandidate:
		s.enter(Promoted, "another publisher published the same bytes")
	case IsGone:
		s.end(Aborted, "the key was deleted")
	default:
		s.end(Superseded, "another version became current")
	}
	s.row.Gate = ""
}

// end ends the rollout and withdraws its version.
func (s *step) end(state State, reason string) {
	s.enter(state, reason)
	names := s.failures()
	s.o.Withdraw = &Withdrawn{Rollout: s.row.ID, Reason: reason, Nodes: names[:min(len(names), MaxEvidence)], End: state}
}

// list names a few nodes.
func list(names []string) string {
	const few = 3
	if more := len(names) - few; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), more)
	}
	return strings.Join(names, ", ")
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func lost(n int) string {
	if n == 1 {
		return "1 node that lost its hub"
	}
	return nodes(n) + " that lost their hub"
}
