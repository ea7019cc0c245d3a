// Package e2e has the helpers of the tests of the main flows. They run on real parts:
// the released program, real Consul agents, processes, files and sockets.
// Each folder has the tests of its topic.
//
// Faults of a single package are tested there. Here are the promises between the
// parts: a watch delivers, an old kvexpress and this one get along,
// a policy allows what it says, publishers race, a network loses an answer, and
// dashboards go on working.
package e2e
