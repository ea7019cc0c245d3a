package install

import (
	"fmt"
	"time"

	"kvexpress/internal/command"
)

// Action says in one stable word what an install did.
type Action string

// The actions. An install that was refused, or that failed before it changed the file, has NoAction.
const (
	NoAction     Action = ""
	Unchanged    Action = "unchanged"     // bytes, mode and owner were right, no exec was pending
	Installed    Action = "installed"     // new bytes are in place
	Repaired     Action = "repaired"      // the bytes were right, mode or owner were corrected
	Restored     Action = "restored"      // the exec failed, the old bytes are back
	ExecRan      Action = "exec_ran"      // the bytes were right, a pending exec ran
	Kept         Action = "kept"          // the file is a candidate, and only its hubs decide about it: see Result.Provisional
	Postponed    Action = "postponed"     // there are new bytes, and Target.Postpone said not now
	WouldInstall Action = "would_install" // dry run
	WouldRepair  Action = "would_repair"  // dry run
	WouldExec    Action = "would_exec"    // dry run
)

// Result is what an install did. It is valid beside an error too.
type Result struct {
	Action      Action
	Key         string
	File        string          // as given
	Path        string          // of the file, without symbolic links
	Lineage     string          // of the live version; "" if it is unmanaged
	Version     uint64          // the live one; 0 if it is unmanaged
	SHA256      string          // of the live bytes
	Size        int             // of the live bytes
	Lines       int             // of the live bytes
	Before      string          // SHA-256 of the file before; "" if there was none, or one larger than any version
	Had         uint64          // version of these bytes, as the state has it; 0: unknown or unmanaged
	DiskRead    bool            // the file was read, so Before is known
	Old, New    []byte          // with Target.Diff; New is nil if nothing was fetched
	Check       *command.Result // nil if none ran
	Exec        *command.Result // nil if none ran
	ExecPending bool            // the exec has not succeeded yet for the bytes on disk
	Frozen      *Frozen         // the row that freezes the target; nil if none does
	// Mismatch: nothing was done, but the caller's data does not match the checksum. One of the two will change, as between the
	// writes of kvexpress 1.x.
	Mismatch bool
	// Offered is the ID of the rollout whose candidate was read as this node's version; "": it was the current version. Provisional
	// is the ID of the rollout whose candidate is in place now; "": none is.
	Offered, Provisional string
	// Back: the file was a candidate, and this is the version that it had replaced.
	Back   bool
	Index  uint64 // of the checksum row, as read first; 0: there is none
	Began  time.Time
	Placed time.Time // when the new bytes were in place; zero if there are none
	Notes  []string  // for people, in order
}

// Frozen is the stop or lock row that freezes a target. When the row changes, or at Until, the target is reconciled again.
type Frozen struct {
	Path  string
	Index uint64
	Until time.Time // when a lock ends by itself; zero: never
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// ExecError: the new bytes are in place (or, Restored, the old ones), but the exec did not succeed. It is pending: the next
// install runs it again.
type ExecError struct {
	File     string
	Restored bool
	Err      error
}

func (e *ExecError) Error() string {
	if e.Restored {
		return fmt.Sprintf("%s: the exec failed and the old content is back: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s is installed, but its exec failed: %v; the next run retries it", e.File, e.Err)
}

func (e *ExecError) Unwrap() error { return e.Err }

// StateError: the state folder cannot be read or written. Mostly that is found before the target is changed. If the disk fills up
// later, the Action says that the target is changed, and the exec stays pending.
type StateError struct {
	Dir string
	Err error
}

func (e *StateError) Error() string {
	return fmt.Sprintf("the state folder %s: %v; correct it, or choose another with --state-dir", e.Dir, e.Err)
}

func (e *StateError) Unwrap() error { return e.Err }
