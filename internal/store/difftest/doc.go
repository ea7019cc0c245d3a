// Package difftest holds a server to Consul's behaviour: it sends the same
// requests to a real Consul (the reference) and to another server (the
// subject), over plain HTTP, and reports the first thing that a client could
// tell apart: status, headers, bytes of the body, and when a blocked query
// is woken.
//
// Indexes and session ids are each server's own. They are compared by a
// relation: over all that was seen, the indexes of both must be in the same
// order, and each id of the one must stand for one id of the other.
//
// It knows nothing of how either server is built, and imports nothing of this
// module. The random sequences and the kept ones are in its tests.
package difftest
