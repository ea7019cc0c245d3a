// Package disk keeps the embedded store in a folder: it is the local.Journal that makes
// writes durable, with bbolt.
//
// An acknowledged write survives kill -9 and power loss, and a batch is there whole or not
// at all. One process has the folder; others are refused. Open reads and verifies every
// record. A damaged file is an error that names the file, the bucket and the key; the file is
// left as it is.
//
// One damage is not noticed: if the newer of bbolt's two heads is damaged, bbolt takes the
// older one, and the last acknowledged batch is lost.
package disk
