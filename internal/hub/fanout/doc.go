// Package fanout owns the agents that are connected to a hub: who they are, what they may read, and which snapshot each of
// them got last. A file for each:
//
//	fanout   all sessions: who gets what, when the store changes
//	session  one agent: its connection, its questions
//	hello    what an agent asks for, and its first snapshots
//	push     what goes to an agent: the newest of each key, never a queue
//	frame    a snapshot as a message, encoded once for all
//	offer    who gets the candidate of a rollout, and what its nodes report
//	access   what an agent's token may read and report
//
// It works on a feed and on connections that it is given: it opens no store and no listener. It may import kv, gate, fleet,
// record, wire, wait, safetext and feed.
package fanout
