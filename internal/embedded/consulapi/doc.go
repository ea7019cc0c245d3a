// Package consulapi serves a part of the HTTP API of Consul 1.22.5 over the embedded store: KV, transactions, the few agent
// endpoints that clients need, tokens and their policies. Clients read the same statuses, indexes, JSON and reasons as from
// Consul, and a blocking query returns at the same time. The tests of testutil/difftest compare it with a real Consul. Of this
// module it imports embedded.
//
// Deliberate differences:
//   - Only a change of the requested rows wakes a blocking query. In Consul, a list of an empty prefix returns with every write.
//   - If there are tokens, a request without one never blocks.
//   - Every read is consistent.
//   - Other endpoints, sessions and locks among them, are answered with 501 and a text.
//   - At most 64 MiB of large answers are in transfer at a time. The answer of a transaction that writes has at most 8 MiB.
package consulapi
