package rollout

import "fmt"

// What an operator orders: a change of the row, written by check-and-set with the operator's token. The controller follows it.
// The error of each is that the rollout is not in a state for it. reason is for people; it may be empty.

// Pause admits no further node until Resume. Nodes keep what they have. Failures still count.
func (r Row) Pause(reason string) (Row, error) {
	if r.State != Running {
		return r, r.cannot("paused", "`kvexpress rollout status -k "+string(r.Key)+"` shows what it waits for")
	}
	return r.to(Paused, reason), nil
}

// Resume continues a paused rollout; its bake and timeout begin anew. A halted one continues, too: the nodes that failed are
// left alone from then on. A stage with PauseBefore still waits for Promote.
func (r Row) Resume() (Row, error) {
	if r.State != Paused && r.State != Halted {
		return r, r.cannot("resumed", "only a paused or halted one can")
	}
	return r.to(Running, ""), nil
}

// Promote lets the next stage with PauseBefore begin: the one that it waits for, or else the next one when its time comes. It is
// an error if there is none. With all, or if it is halted, it skips the stages that are left, with their bakes and gates, and
// makes the candidate current.
func (r Row) Promote(all bool) (Row, error) {
	switch {
	case r.State == Halted || all && (r.State == Running || r.State == Paused):
		r.Stage = len(r.Plan.Stages)
	case r.State == Running:
		for i, stage := range r.Plan.Stages {
			if stage.PauseBefore && i > r.Stage && i > r.Go {
				r.Go = i
				return r.to(Running, r.Reason), nil
			}
		}
		return r, r.cannot("promoted", "no later stage waits for it; `--all` skips the stages that are left")
	case r.State == Paused:
		r.Go = max(r.Go, r.Stage)
	default:
		return r, r.cannot("promoted", "publish the version with `kvexpress in`")
	}
	return r.to(Running, ""), nil
}

// Abort lets all nodes go back to the current version.
func (r Row) Abort(reason string) (Row, error) {
	if !r.State.Offers() {
		return r, r.cannot("aborted", "`kvexpress rollback -k "+string(r.Key)+"` goes back to the version before the current one")
	}
	r.End = Aborted
	return r.to(Reverting, reason), nil
}

// to is the row in another state.
func (r Row) to(state State, reason string) Row {
	r.State, r.Reason, r.Gate = state, reason, ""
	r.Counter++
	return r
}

func (r Row) cannot(what, remedy string) error {
	return fmt.Errorf("the rollout of %s is %s, and cannot be %s; %s", r.Key, r.State, what, remedy)
}
