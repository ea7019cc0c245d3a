// Package hub owns the hub daemon: one process with one listener. Each thing that it does is a file:
//
//	store    the embedded store behind Consul's HTTP API
//	metrics  the metrics of the whole fleet
//	agents   the connections of agents, their receipts and rollouts: packages feed, fanout, receipts and rollouts
//	page     answers about receipts, for other hubs and for commands
//	peers    asks other hubs
//	rolloutpage  answers about rollouts, for other hubs and for commands
//	own      the metrics of the hub itself
//
// and what they share:
//
//	hub      opens them, listens, serves and closes
//	access   tokens, certificates, and the addresses that need them
//
// Beside them, size is the model of what a fleet needs.
//
// It opens stores and listeners; flags, hub.yml and systemd belong to cli. It may import kv, fleet, hold, embedded with
// its packages, httpd, observe, wire and wait, with the packages below it.
package hub
