// Package consulhttp is an HTTP front that speaks a part of the API of Consul 1.22.5 over the
// embedded store: KV, transactions, sessions, and what clients ask of an agent on the way
// there. Statuses, headers, bodies and error texts are those of a Consul that is one server with
// the default configuration; a test puts the same requests to both.
//
// What differs, on purpose:
//   - A query that waits is woken by a change of what it asks for, and by nothing else. In
//     Consul, a list of a prefix below which nothing is returns with every write to the store.
//   - Reads are always of the newest state, so that stale, consistent and the default are one.
//   - What is not here is answered with 501 and a text that says so.
//   - Long lists are sent while they are made, so that they cost no memory; a transaction of null
//     is refused, where Consul breaks off the connection.
package consulhttp
