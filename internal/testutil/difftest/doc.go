// Package difftest holds a server to Consul's behaviour: it sends the same
// requests to a real Consul (the reference) and to another server (the
// subject), and reports the first thing that a client of Consul's KV store would read differently: a
// status, what tells of the index and the leader, the JSON of an answer, the bytes of a raw one, why an operation of a
// transaction failed, and when a blocking query is answered.
//
// Indexes are each server's own. They are compared by a
// relation: over all that was seen, the indexes of both must be in the same order.
//
// It knows nothing of how either server is built, and imports nothing of this
// module. The random sequences and the kept ones are in its tests.
package difftest
