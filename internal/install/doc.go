// Package install owns the install transaction: from a key in the store to a verified file on this node, and its exec. Install,
// InstallData and RunPending are the only ways in; `out`, `raw` and the agent call them.
//
// Its promise, after a crash, a kill, a full disk or a bad byte at any step: the target is exactly the old or exactly the new
// verified bytes; the exec ran, or is known to be pending, for the bytes on disk; no result claims more than happened.
//
// It imports kv, record, gate, rollout, atomicfile and command of this module.
package install
