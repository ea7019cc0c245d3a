// Package kv owns the vocabulary that every other package speaks: names of
// keys, the layout of paths in the store, the manifest, and the Store
// interface with its errors. It does no I/O and imports no other package of
// this module.
package kv
