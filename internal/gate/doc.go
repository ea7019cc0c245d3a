// Package gate owns the decisions of publishing and delivering, as pure
// functions: from content and rows of the store to "do it" or to the reason
// why not. It does no I/O and imports only kv, codec and safetext of this module.
package gate
