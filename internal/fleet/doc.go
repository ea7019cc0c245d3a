// Package fleet owns the answer to "did it reach everybody?": the receipts that
// nodes leave in the store, what they come to for a key, and how long it took,
// whatever the clocks of the machines say.
//
//	receipt   what one node says of itself: its form, limits, merging
//	write     how a node puts its own receipt there, and nobody else's
//	clock     whose clocks can be relied on, held against the store's
//	roster    all receipts of a moment, read from the store
//	verdict   what one node's receipt means for a version of a key
//	report    what all of them mean: counts, stragglers, percentiles
//	wait      the same, until enough nodes have a version
//	scan      the whole fleet at one moment: all keys, stops and locks
//	missing   for how long nodes have been missing, from scan to scan
//	metrics   a scan as Prometheus text
//
// Of this module it imports kv, record, gate, hold, observe and outcome.
package fleet
