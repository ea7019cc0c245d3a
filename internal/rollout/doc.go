// Package rollout owns policies: the rules for new versions of a key, for every publisher. It does no I/O. Of this module it
// imports kv and gate.
package rollout
