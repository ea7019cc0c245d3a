// Package e2e is what the tests of the main flows share. They run on real parts:
// the program as it is released, real Consul agents, processes, files and sockets.
// Each folder has the tests of what it is called by.
//
// What only one package can get wrong is tested there. Here is what people rely
// on between the parts: a watch delivers, an old kvexpress and this one get along,
// a policy allows what it says, publishers race, a network loses an answer, and
// dashboards go on working.
package e2e
