// Package atomicfile owns how a file is replaced: open its path, lock it, stage a new file in the lock folder, set owner,
// attributes and mode, fsync, rename, fsync the folder. It is the only writer of files in this module.
//
// All operations are relative to open folders. If another process swaps a folder for a symbolic link, a write does not follow
// it. Nothing is changed by its path.
//
// Of this module it imports wait.
package atomicfile

// FaultPoint labels one operation of a replacement.
type FaultPoint string

// The fault injection points, in the order of a replacement.
const (
	AtMakeDirs FaultPoint = "make-dirs"
	AtCreate   FaultPoint = "create"
	AtWrite    FaultPoint = "write"
	AtOwner    FaultPoint = "owner"
	AtXattrs   FaultPoint = "xattrs"
	AtMode     FaultPoint = "mode"
	AtSync     FaultPoint = "sync"
	AtRename   FaultPoint = "rename"
	AtSyncDir  FaultPoint = "sync-dir"
	// Those of WriteInPlace.
	AtInPlaceWrite FaultPoint = "in-place-write"
	AtInPlaceSync  FaultPoint = "in-place-sync"
)

// FaultHook is called before each operation. The operation fails with the error that the hook returns. A nil hook does nothing.
type FaultHook func(FaultPoint) error

// Before calls the hook.
func (h FaultHook) Before(p FaultPoint) error {
	if h == nil {
		return nil
	}
	return h(p)
}
