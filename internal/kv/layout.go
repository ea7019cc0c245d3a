package kv

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Layout defines the paths in the store. They never change: other programs and kvexpress 1.x depend on them.
type Layout struct {
	prefix string
}

// NewLayout validates a prefix. Slashes around it are dropped, as in 1.x. The error is a *NameError.
func NewLayout(prefix string) (Layout, error) {
	p, err := parsePrefix(prefix)
	return Layout{prefix: p}, err
}

// Prefix is the validated prefix, without slashes around it.
func (l Layout) Prefix() string { return l.prefix }

// Dir is the folder of a key, with a slash at the end.
func (l Layout) Dir(k Key) string { return l.prefix + "/" + string(k) + "/" }

// Data is the path of a key's bytes.
func (l Layout) Data(k Key) string { return l.Dir(k) + "data" }

// Checksum is the path of the SHA-256 of the plain bytes, in hex. kvexpress 1.x watches this path.
func (l Layout) Checksum(k Key) string { return l.Dir(k) + "checksum" }

// Manifest is the path of a key's manifest.
func (l Layout) Manifest(k Key) string { return l.Dir(k) + "manifest" }

// Stop is the path of the reason of a stop.
func (l Layout) Stop(k Key) string { return l.Dir(k) + "stop" }

// Policy is the path of the rules for new versions of a key.
func (l Layout) Policy(k Key) string { return l.Dir(k) + "policy" }

// Rows returns the paths of all possible rows of a key, without its history.
func (l Layout) Rows(k Key) []string {
	var paths []string
	for _, row := range KeyRows() {
		paths = append(paths, l.Dir(k)+row)
	}
	return paths
}

// Lock is the path of the reason of a lock on one file (an absolute path) on one node (the operating system's host name), as in
// 1.x.
func (l Layout) Lock(file, host string) string {
	return l.LocksDir() + FileHash(file) + "/" + host
}

// FileHash is the name of a file (an absolute path) in the paths of its locks: the SHA-256 of its path, in hex.
func FileHash(file string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(file)))
}

// LockOf is the inverse of Lock: it returns the FileHash and the host of a path below LocksDir; false for any other path. The
// host is any text without a slash, and not safe to print.
func (l Layout) LockOf(path string) (hash, host string, ok bool) {
	rest, below := strings.CutPrefix(path, l.LocksDir())
	hash, host, ok = strings.Cut(rest, "/")
	if !below || !ok || !IsSHA256(hash) || host == "" || strings.Contains(host, "/") {
		return "", "", false
	}
	return hash, host, true
}

// LocksDir is the folder of all locks.
func (l Layout) LocksDir() string { return l.prefix + "/locks/" }

// KeyOf returns the key of a path, and the row ("data", "checksum", "stop" and so on); false for any other path.
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

// HistoryDir is the folder of the past versions of a key.
func (l Layout) HistoryDir(k Key) string { return l.prefix + "/.history/" + string(k) + "/" }

// HistoryManifest is the path of a past version's manifest.
func (l Layout) HistoryManifest(k Key, version uint64) string {
	return l.HistoryDir(k) + strconv.FormatUint(version, 10) + "/manifest"
}

// HistoryData is the path of a past version's bytes.
func (l Layout) HistoryData(k Key, version uint64) string {
	return l.HistoryDir(k) + strconv.FormatUint(version, 10) + "/data"
}

// HistoryPending is the path of a mark. Its value is the publish id of a version that its publisher has not made live yet.
func (l Layout) HistoryPending(k Key, version uint64) string {
	return l.HistoryDir(k) + strconv.FormatUint(version, 10) + "/pending"
}

// HistoryWithdrawn is the path of the reason why a version was withdrawn: its rollout did not end well.
func (l Layout) HistoryWithdrawn(k Key, version uint64) string {
	return l.HistoryDir(k) + strconv.FormatUint(version, 10) + "/withdrawn"
}

// HistoryVersion returns the version of a path below HistoryDir, and the row ("manifest", "data" and so on); false for any other
// path.
func (l Layout) HistoryVersion(k Key, path string) (version uint64, row string, ok bool) {
	rest, below := strings.CutPrefix(path, l.HistoryDir(k))
	number, row, _ := strings.Cut(rest, "/")
	version, err := strconv.ParseUint(number, 10, 63)
	return version, row, below && err == nil && version > 0 && row != "" && !strings.Contains(row, "/")
}

// Node is the path of a node's receipt. It is outside the prefix, because receipts would wake list watches on the prefix.
func (l Layout) Node(node string) string { return l.NodesDir() + node }

// NodesDir is the folder of all receipts.
func (l Layout) NodesDir() string { return l.prefix + "-nodes/" }

// Events is the path of a key's events. It is outside the prefix, like receipts, and stays when the key is retired.
func (l Layout) Events(k Key) string { return l.EventsDir() + string(k) }

// Rollout is the path of a key's rollout. It is outside the prefix, like receipts.
func (l Layout) Rollout(k Key) string { return l.RolloutsDir() + string(k) }

// RolloutsDir is the folder of all rollouts.
func (l Layout) RolloutsDir() string { return l.prefix + "-rollouts/" }

// EventsDir is the folder of all events.
func (l Layout) EventsDir() string { return l.prefix + "-events/" }
