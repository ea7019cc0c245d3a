// Package disk keeps the embedded store in a folder: it is the local.Journal that makes
// writes durable, with a log and bbolt.
//
// An acknowledged write is on disk: kill -9 and power loss at any time lose none, and
// a batch is there whole or not at all. The folder is one process's; others are
// refused. What is read at the start is verified, each record and all of them
// together, without bbolt and before it: a damaged file is an error that names the
// file and the place, never a panic, never fewer rows than were acknowledged, and it
// is left as it is.
//
// What is acknowledged is in the log, a file of a fixed size; when it is full, all of it
// goes into bbolt's store.db in one transaction. The one thing that is not noticed is damage,
// after a crash, to the very last record of the log: it looks like a write that was cut off and never
// acknowledged.
//
// In the folder are store.db, log and lock; the first two belong together. bbolt's buckets are rows, graves and sessions,
// with a record of record.go for each, and about, with the version of the format, the
// log's label and what the others come to.
package disk
