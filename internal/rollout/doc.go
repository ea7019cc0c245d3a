// Package rollout owns policies and rollouts as values: the rules for new versions of a key, the row of a rollout, and the
// decisions of its controller. It does no I/O.
//
//	policy  the rules for every publisher
//	plan    the stages in which a version reaches the fleet
//	row     the rollout of a key, as the store has it; the order of nodes
//	step    what the controller sees, remembers and orders: one pure function
//	stage   count nodes, admit them, bake, ask, gates
//	health  what nodes report, and how they count
//	failure what stops a rollout, and the way back
//	operator  what people order: pause, resume, promote, abort
//	preview, view  what a hub shows before it begins, and of it
//
// Of this module it imports kv, gate and safetext.
package rollout
