package kv

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// Layout is the one place that knows the paths of the store. Other programs
// and kvexpress 1.x depend on them: they never change.
type Layout struct {
	prefix string
}

// NewLayout validates a prefix. Slashes around it are dropped, as 1.x did.
// The error is a *NameError.
func NewLayout(prefix string) (Layout, error) {
	p, err := parsePrefix(prefix)
	return Layout{prefix: p}, err
}

// Prefix is the validated prefix, without slashes around it.
func (l Layout) Prefix() string { return l.prefix }

// Dir is what all entries of a key have in common, with a slash at the end.
func (l Layout) Dir(k Key) string { return l.prefix + "/" + string(k) + "/" }

// Data is the path of a key's bytes.
func (l Layout) Data(k Key) string { return l.Dir(k) + "data" }

// Checksum is the path of the SHA-256 of the plain bytes, in hex. Watches of
// kvexpress 1.x hang on this path.
func (l Layout) Checksum(k Key) string { return l.Dir(k) + "checksum" }

// Manifest is the path of a key's manifest.
func (l Layout) Manifest(k Key) string { return l.Dir(k) + "manifest" }

// Stop is the path of the reason for which a key is frozen.
func (l Layout) Stop(k Key) string { return l.Dir(k) + "stop" }

// Rows are the paths of all rows that a key can have, without its history.
func (l Layout) Rows(k Key) []string {
	var paths []string
	for _, row := range KeyRows() {
		paths = append(paths, l.Dir(k)+row)
	}
	return paths
}

// Lock is the path of the reason for which one file (an absolute path) is
// frozen on one node (the operating system's host name). It is 1.x's path.
func (l Layout) Lock(file, host string) string {
	return l.LocksDir() + FileHash(file) + "/" + host
}

// FileHash is what a file (an absolute path) is called in the path of its locks:
// the SHA-256 of its path, in hex.
func FileHash(file string) string {
	sum := sha256.Sum256([]byte(file))
	return hex.EncodeToString(sum[:])
}

// LockOf is the inverse of Lock: which file, by its FileHash, a path below LocksDir
// locks on which host, or false for a path of another shape. The host is any text
// without a slash: it is not safe to print.
func (l Layout) LockOf(path string) (hash, host string, ok bool) {
	rest, below := strings.CutPrefix(path, l.LocksDir())
	hash, host, ok = strings.Cut(rest, "/")
	if !below || !ok || !IsSHA256(hash) || host == "" || strings.Contains(host, "/") {
		return "", "", false
	}
	return hash, host, true
}

// LocksDir is what the locks of all files have in common.
func (l Layout) LocksDir() string { return l.prefix + "/locks/" }

// KeyOf is the key that a path is a row of, and which: "data", "checksum", "stop" and
// so on; false for a path of another shape.
func (l Layout) KeyOf(path string) (k Key, row string, ok bool) {
	rest, below := strings.CutPrefix(path, l.prefix+"/")
	at := strings.LastIndexByte(rest, '/')
	if !below || at < 0 || !slices.Contains(KeyRows(), rest[at+1:]) {
		return "", "", false
	}
	k, err := ParseKey(rest[:at])
	if err != nil || string(k) != rest[:at] {
		return "", "", false
	}
	return k, rest[at+1:], true
}

// HistoryDir is what all past versions of a key have in common.
func (l Layout) HistoryDir(k Key) string { return l.prefix + "/.history/" + string(k) + "/" }

// HistoryManifest is the path of a past version's manifest.
func (l Layout) HistoryManifest(k Key, version uint64) string {
	return l.HistoryDir(k) + strconv.FormatUint(version, 10) + "/manifest"
}

// HistoryData is the path of a past version's bytes.
func (l Layout) HistoryData(k Key, version uint64) string {
	return l.HistoryDir(k) + strconv.FormatUint(version, 10) + "/data"
}

// HistoryPending is the path of a mark. If it has a value, the publish id, this version was
// never live: its publisher put it there first, and has not made it live yet.
func (l Layout) HistoryPending(k Key, version uint64) string {
	return l.HistoryDir(k) + strconv.FormatUint(version, 10) + "/pending"
}

// HistoryVersion tells which version a path below HistoryDir belongs to, and which row of
// it this is: "manifest", "data" and so on; false for a path of another shape, or
// a number that no publisher ever reaches.
func (l Layout) HistoryVersion(k Key, path string) (version uint64, row string, ok bool) {
	rest, below := strings.CutPrefix(path, l.HistoryDir(k))
	number, row, _ := strings.Cut(rest, "/")
	version, err := strconv.ParseUint(number, 10, 63)
	return version, row, below && err == nil && version > 0 && row != "" && !strings.Contains(row, "/")
}

// Node is the path of a node's receipt. It is outside the prefix on purpose:
// receipts below it would wake list watches on the prefix.
func (l Layout) Node(node string) string { return l.NodesDir() + node }

// NodesDir is what the receipts of all nodes have in common.
func (l Layout) NodesDir() string { return l.prefix + "-nodes/" }

// Events is the path of a key's events. It is outside the prefix, as
// receipts are, and stays when the key is retired.
func (l Layout) Events(k Key) string { return l.EventsDir() + string(k) }

// EventsDir is what the events of all keys have in common.
func (l Layout) EventsDir() string { return l.prefix + "-events/" }
