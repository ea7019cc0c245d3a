package install

import (
	"fmt"
	"time"

	"kvexpress/internal/command"
)

// Action says in one stable word what an install did.
type Action string

// The actions. An install that was refused, or that failed before it touched the target, has
// NoAction.
const (
	NoAction     Action = ""
	Unchanged    Action = "unchanged"     // bytes, mode and owner were right, no exec was pending
	Installed    Action = "installed"     // new bytes are in place
	Repaired     Action = "repaired"      // the bytes were right, mode or owner were corrected
	Restored     Action = "restored"      // the exec failed, the old bytes are back
	ExecRan      Action = "exec_ran"      // the bytes were right, a pending exec ran
	Postponed    Action = "postponed"     // there are new bytes, and Target.Postpone said not now
	WouldInstall Action = "would_install" // dry run
	WouldRepair  Action = "would_repair"  // dry run
	WouldExec    Action = "would_exec"    // dry run
)

// Result is what a delivery did. It is valid beside an error too.
type Result struct {
	Action  Action
	Key     string
	File    string // as asked for
	Path    string // what it leads to, where it is a symbolic link
	Lineage string // of the version that stands in the store; "" for an unmanaged one
	Version uint64 // 0 for an unmanaged one
	SHA256  string // of the bytes that stand in the store
	Size    int    // in bytes
	Lines   int
	// Before is the SHA-256 of the file before, "" if there was none or it was
	// too large to be ours.
	Before string
	// DiskRead: the file was read, so Before is known.
	DiskRead bool
	// Old and New are the bytes before and after, with Target.Diff; New is nil when
	// nothing was fetched.
	Old, New    []byte
	Check       *command.Result // nil if none ran
	Exec        *command.Result // nil if none ran
	ExecPending bool            // the exec has not succeeded yet for the bytes on disk
	Frozen      *Frozen         // the row that freezes the target; nil if none does
	// Mismatch: nothing was done, but the caller's data does not match the checksum. One of
	// the two will change, as between the writes of kvexpress 1.x.
	Mismatch bool
	// Index is that of the checksum, as it was read first; 0: there was none.
	Index uint64
	Began time.Time
	// Placed is when the new bytes were in place; zero if there were none.
	Placed time.Time
	// Fleet is how many nodes the publisher counted; 0: it is not known.
	Fleet int
	Notes []string // what people should know, in the order it was found
}

// Frozen is the stop or lock row that freezes a target. When the row changes, or at Until,
// the target is reconciled again.
type Frozen struct {
	Path  string
	Index uint64
	Until time.Time // when a lock ends by itself; zero: never
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// ExecError: the new bytes are in place (or, restored, the old ones), but the
// exec did not succeed. It is owed: the next delivery runs it again.
type ExecError struct {
	File     string
	Restored bool
	Err      error
}

func (e *ExecError) Error() string {
	if e.Restored {
		return fmt.Sprintf("%s: the exec failed and the old content is back: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s is in place, but the exec failed: %v; it runs again with the next delivery", e.File, e.Err)
}

func (e *ExecError) Unwrap() error { return e.Err }

// StateError: the state folder cannot be read or written. That is found before
// the target is touched; if it comes later, such as by a disk that fills up, the
// outcome says so, and the exec stays owed.
type StateError struct {
	Dir string
	Err error
}

func (e *StateError) Error() string {
	return fmt.Sprintf("the state folder %s: %v; make it usable, or choose another with --state-dir", e.Dir, e.Err)
}

func (e *StateError) Unwrap() error { return e.Err }
