package install

import "kvexpress/internal/atomicfile"

// Step is the label of one step of the install transaction, so that a test can
// fail or kill that very step. The steps of package atomicfile come in between
// under their own labels.
type Step string

// The steps, in the order in which they happen.
const (
	StepRead        Step = "read"
	StepRecover     Step = "recover"
	StepReadData    Step = "read-data"
	StepLock        Step = "lock"
	StepPending     Step = "state-pending"
	StepCheck       Step = "check"
	StepReadAgain   Step = "read-again"
	StepInstalled   Step = "state-installed"
	StepExec        Step = "exec"
	StepExecDone    Step = "state-done"
	StepRestore     Step = "restore"
	StepStateFinish Step = "finish"
)

// Steps lists every label that an install with a check and an exec passes
// through, in order.
func Steps() []Step {
	return []Step{
		StepRead, StepReadData, StepLock, StepPending,
		Step(atomicfile.StepCreate), Step(atomicfile.StepWrite), Step(atomicfile.StepOwner),
		Step(atomicfile.StepXattrs), Step(atomicfile.StepMode), Step(atomicfile.StepSync),
		StepCheck, StepReadAgain,
		Step(atomicfile.StepRename), Step(atomicfile.StepSyncDir),
		StepInstalled, StepExec, StepExecDone, StepStateFinish,
	}
}

// Hook is called before each step. An error that it returns is taken for the
// failure of that step. A nil Hook does nothing.
type Hook func(Step) error

func (h Hook) before(s Step) error {
	if h == nil {
		return nil
	}
	return h(s)
}

func (h Hook) files() atomicfile.Hook {
	if h == nil {
		return nil
	}
	return func(s atomicfile.Step) error { return h(Step(s)) }
}
