//go:build linux

// Package scale runs a fleet as it is: an agent process for each node, against Consul
// servers that run already, and holds what `kvexpress status` tells of it against what is
// seen from outside. It owns the nodes' folders, tokens and processes, the publishes, the
// looks from outside and the comparison; nothing of it outlives Run.
//
// Two scenes: versions of a hosts file that every node has, and a file from a URL to a
// key that did not exist, for which every node had a target.
//
// From outside, a file is in place at its ctime, which the kernel sets when it renames,
// and an exec is done at the mtime of the file to which it adds a line. An observer with
// inotify would queue for a processor among a thousand agents, and would be late by as
// much as it wants to measure; the kernel notes the time then and there, if only to its
// tick (4 ms at 250 Hz). Nodes do not know that they are looked at.
//
// What `status` calls "in place" is after the fsync of the folder: durable. The rename was
// before, by no more than the step that receipts tell of each node. So the two agree if the
// ctime lies within that step.
package scale
