// Package consulapi is an HTTP front that speaks a part of the API of Consul 1.22.5 over the
// embedded store: KV, transactions, and what clients ask of an agent on the way there. What clients read is as in Consul:
// statuses, indexes, JSON, when a blocking query is answered, and why an operation of a transaction failed. A test
// compares it with a real Consul (internal/testutil/difftest).
//
// What differs, on purpose:
//   - A blocking query is woken by a change of what it asks for, and by nothing else. In
//     Consul, a list of a prefix below which nothing is returns with every write to the store.
//   - A request without a token never waits if there are tokens.
//   - Reads are always of the newest state, so that stale, consistent and the default are one.
//   - What is not here, sessions and locks among it, is answered with 501 and a text that names it.
//   - Large answers are limited to 64 MiB that are being sent at a time.
package consulapi
