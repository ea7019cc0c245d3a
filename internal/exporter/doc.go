// Package exporter owns what the whole fleet looks like to Prometheus: one process reads
// all receipts, what the keys hold, stops and locks, and says it as metrics.
//
//	look      one look at all of it
//	missing   for how long nodes have been missing, from look to look
//	metrics   a look as text
//	exporter  when to look; what is said while the store is away
//	http      /metrics, /healthz and /readyz
//
// It publishes and delivers nothing. Of this module it imports kv, fleet, freeze and
// observe/promtext.
package exporter
