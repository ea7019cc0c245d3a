package install

import "kvexpress/internal/atomicfile"

// FaultPoint labels one step of the install transaction, so that a test can fail the step
// or kill the process there. Package atomicfile labels the steps in between.
type FaultPoint = atomicfile.FaultPoint

// FaultHook is called before each step. The step fails with the error that the hook returns.
type FaultHook = atomicfile.FaultHook

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
		atomicfile.AtCreate, atomicfile.AtWrite, atomicfile.AtOwner, atomicfile.AtXattrs, atomicfile.AtMode, atomicfile.AtSync,
		AtCheck, AtReadAgain,
		atomicfile.AtRename, atomicfile.AtSyncDir,
		AtInstalled, AtExec, AtExecDone, AtUnlock,
	}
}
