// Package rollouts owns what a hub does for rollouts: it offers candidates to nodes, knows how the nodes are, and moves the
// rollouts that it controls. rollout.Step, which is pure, decides what happens next; this package carries it out.
//
//	rollouts  all keys with an open rollout
//	track     one of them: wake, step, write, tell
//	offer     which version a node gets
//	crew      the nodes of a key, their reports, and the questions to them
//	write     the row, and what is written with it
//	gates     commands that must pass before a stage ends
//	peers     the controller and the other hubs
//	page      answers about rollouts, for commands
//	notify    changes of state for a webhook
//
// It works on a feed, a fanout and a store that it is given. Of this module it imports kv, record, rollout, publish, hold,
// command, feed, fanout, wire, wait and safetext.
package rollouts
