// Package wire owns the protocol between agents and hubs: the messages, their limits, and the connection that carries them.
//
// One connection carries all targets of a node:
//
//	agent → hub    hello, confirm, receipt, beat, health
//	hub → agent    welcome or refused, snapshot, failed, beat, leave, ask
//
// The hub answers a hello with welcome, and with a snapshot of each key. Later it pushes the newest snapshot of a key that
// changed. A receiver ignores fields and messages that it does not know, so old and new programs work together; Protocol
// changes only when they cannot.
//
// It may import safetext.
package wire
