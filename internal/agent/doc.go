// Package agent is the daemon of a node: it keeps every target what the store
// says, with one goroutine for each. It owns watching (when to look), and leaves
// what a look does to package deliver: the same transaction as `out`.
//
//	link     the store: up or away, whose turn it is to try, how often; queries that wait there
//	poll     the rows of targets that are not watched
//	waits    how many queries wait at the store, and when they begin
//	target   one target: watch, pass, what to wait for next
//	agent    all of them: start, reload, status
//
// Of this module it imports kv, codec, gate, deliver, command, agentfile and
// observe.
package agent
