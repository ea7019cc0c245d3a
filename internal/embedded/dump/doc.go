// Package dump owns the format in which `consul kv export` writes rows and `consul kv
// import` reads them, and the order in which rows are brought into a store, so that
// whoever watches it meanwhile is not misled. It is pure: streams and rows come in,
// and writes come out. Of this module it imports kv alone.
package dump
