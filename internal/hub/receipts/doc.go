// Package receipts owns what a hub knows of all nodes: the receipts that its own agents send, those of other hubs, and those
// that `out`s and agents without a hub leave in the store. A file for each:
//
//	table    the receipts in memory, and who waits for a change
//	outputs  of failed commands, beside the receipts; only in memory
//	persist  to the store, in batches
//	sync     from the store
//	peers    from other hubs
//
// It works on a store that it is given. It may import kv, fleet, wait and safetext.
package receipts
