// Package exporter owns what the whole fleet looks like to Prometheus: one process reads
// all receipts, what the keys hold, stops and locks, and says it as metrics.
//
//	exporter  when to look; what is said while the store is away
//	http      /metrics, /healthz and /readyz
//
// It publishes and delivers nothing. Of this module it imports kv, fleet and observe.
package exporter
