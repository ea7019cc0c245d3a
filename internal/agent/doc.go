// Package agent is the daemon of a node: a source reports changes of keys, each target reconciles its file, exec groups
// run the commands that several files share, and receipts report the outcome. An install is the same transaction as for
// `out`, in package install.
//
// Of this module it imports kv, config, install, command, gate, fleet, outcome, atomicfile, rollout, wire,
// safetext and wait. It serves no HTTP: cli shows its status.
package agent
