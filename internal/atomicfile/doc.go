// Package atomicfile owns how a file is replaced: open its path, lock it, stage a
// new file in the lock folder, give it owner, attributes and mode, fsync, rename,
// fsync the folder. It is the only writer of files in this module. Each step has a
// label, so that a test can fail or kill that very step.
//
// All operations are relative to opened folders: one that is swapped for a symbolic
// link while we write leads nowhere else. Nothing is changed by its path.
//
// Of this module it imports wait.
package atomicfile

// Step is the label of one operation of a replacement.
type Step string

// The steps, in the order in which they happen.
const (
	StepMakeDirs Step = "make-dirs"
	StepCreate   Step = "create"
	StepWrite    Step = "write"
	StepOwner    Step = "owner"
	StepXattrs   Step = "xattrs"
	StepMode     Step = "mode"
	StepSync     Step = "sync"
	StepRename   Step = "rename"
	StepSyncDir  Step = "sync-dir"
	// The steps of WriteInPlace.
	StepInPlaceWrite Step = "in-place-write"
	StepInPlaceSync  Step = "in-place-sync"
)

// Hook is called before each step. An error that it returns is taken for the
// failure of that step. A nil Hook does nothing.
type Hook func(Step) error

func (h Hook) before(s Step) error {
	if h == nil {
		return nil
	}
	return h(s)
}
