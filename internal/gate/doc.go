// Package gate owns the reasons for which content is refused, and the pure decisions over values: long enough, too different,
// older, stopped, locked. It does no I/O. Of this module it imports kv and safetext.
package gate
