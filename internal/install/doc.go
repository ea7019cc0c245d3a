// Package install owns the install transaction: from a key in the store to a
// verified file on this node, and the command that goes with it. Deliver is
// the only way in; `out`, `raw` and whatever comes later call it.
//
// Its promise, after a crash, a kill, a full disk or a bad byte at any step: the
// target is exactly the old or exactly the new verified bytes; the exec ran, or is
// known to be owed, for the bytes on disk; and nobody is told more than what
// happened.
//
// It imports kv, codec, gate, atomicfile and command of this module.
package install
