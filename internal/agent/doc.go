// Package agent is the daemon of a node: a source tells of changes to keys, each target reconciles its file, exec groups
// run what the files of a node share, and receipts report the outcome. An install is package install's, the same
// transaction as `out`.
//
// Of this module it imports kv, config, install, command, gate, fleet, outcome, atomicfile, safetext and wait. It serves
// no HTTP: cli shows its status.
package agent
