// Package fleet answers which nodes are up to date. It owns the receipts that nodes leave in the
// store, the outcome of each node for a key, how long delivery took whatever the clocks of the
// machines show, and the metrics of the whole fleet.
//
//	receipt, encode    what one node reports: its form, its limits
//	write, merge       a node writes its own receipt, beside other writers on the node
//	roster             a snapshot of all receipts
//	live               the live version of a key
//	judge, clock       the outcome of one node
//	report             the state of one key: counts, stragglers, percentiles
//	node               the state of one node: all of its targets
//	page, part         what hubs and agents tell each other of receipts
//	wait               wait until enough nodes have a version
//	scan, missing      the whole fleet at one moment: all keys, stops and locks
//	metrics            a scan as Prometheus text
//	forget             remove receipts, or targets of them
//
// It may import kv, record, gate, hold, observe, outcome, safetext and wait.
package fleet
