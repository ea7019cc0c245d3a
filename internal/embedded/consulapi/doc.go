// Package consulapi serves a part of the HTTP API of Consul 1.22.5 over the embedded store: KV, transactions, the few agent
// endpoints that clients need, tokens and their policies. Clients read the same statuses, JSON and reasons as from Consul, and a
// blocking query returns at the same time. The tests of testutil/difftest compare it with a real Consul. Of this module it
// imports embedded, and kv for its operations.
//
// Deliberate differences:
//   - Only a change of the requested rows wakes a blocking query. In Consul, a list of an empty prefix returns with every write.
//   - The last deletion of any row counts for the index of every list, so a new query may return without a change.
//   - If there are tokens, a request without one never blocks.
//   - Every read is consistent.
//   - A transaction consists of set, cas, delete, check-index and check-not-exists, or of get-or-empty and
//     get-tree.
//   - Other endpoints and operations, sessions and locks among them, are answered with 501 and a text.
//   - At most 64 MiB of large answers are in transfer at a time.
package consulapi
