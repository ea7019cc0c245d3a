package install

import "kvexpress/internal/atomicfile"

// FaultPoint labels one step of the install transaction, so that a test can fail the step
// or kill the process there. Package atomicfile labels the steps in between.
type FaultPoint string

// The fault injection points, in the order of the transaction.
const (
	AtRead      FaultPoint = "read"
	AtRecover   FaultPoint = "recover"
	AtReadData  FaultPoint = "read-data"
	AtLock      FaultPoint = "lock"
	AtBegin     FaultPoint = "state-begin"
	AtCheck     FaultPoint = "check"
	AtReadAgain FaultPoint = "read-again"
	AtInstalled FaultPoint = "state-installed"
	AtExec      FaultPoint = "exec"
	AtExecDone  FaultPoint = "state-done"
	AtRestore   FaultPoint = "restore"
	AtUnlock    FaultPoint = "unlock"
)

// FaultPoints lists the fault injection points of an install with a check and an exec, in order.
func FaultPoints() []FaultPoint {
	return []FaultPoint{
		AtRead, AtReadData, AtLock, AtBegin,
		FaultPoint(atomicfile.AtCreate), FaultPoint(atomicfile.AtWrite), FaultPoint(atomicfile.AtOwner),
		FaultPoint(atomicfile.AtXattrs), FaultPoint(atomicfile.AtMode), FaultPoint(atomicfile.AtSync),
		AtCheck, AtReadAgain,
		FaultPoint(atomicfile.AtRename), FaultPoint(atomicfile.AtSyncDir),
		AtInstalled, AtExec, AtExecDone, AtUnlock,
	}
}

// FaultHook is called before each step. The step fails with the error that the hook returns.
// A nil hook does nothing.
type FaultHook func(FaultPoint) error

func (h FaultHook) before(s FaultPoint) error {
	if h == nil {
		return nil
	}
	return h(s)
}

func (h FaultHook) files() atomicfile.FaultHook {
	if h == nil {
		return nil
	}
	return func(s atomicfile.FaultPoint) error { return h(FaultPoint(s)) }
}
