// Package kv owns the vocabulary of all packages: names of keys, paths in the store, the manifest, the Store interface and its
// errors, and the words that complete a remedy. It does no I/O. Of this module it imports safetext.
package kv
