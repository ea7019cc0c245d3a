package record

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// State says how whole a version is in the store. The words are a contract.
type State string

// The states of a live version. A past one is Managed, or one from Damaged on.
const (
	Absent       State = "absent"        // no data, no checksum, no manifest
	Managed      State = "managed"       // data, checksum and manifest agree
	Unmanaged    State = "unmanaged"     // data and checksum agree; kvexpress 1.x wrote them: no manifest, or one of other bytes
	Damaged      State = "damaged"       // the rows disagree, one is missing, or one cannot be read
	OtherLineage State = "other_lineage" // it is from before the key was deleted and made anew
	NeedsNewer   State = "needs_newer"   // a later kvexpress wrote it
	Withdrawn    State = "withdrawn"     // its rollout did not end well: it was never live
	Candidate    State = "candidate"     // it is being rolled out
)

// Whole reports whether the bytes of the version can be had.
func (s State) Whole() bool { return s == Managed || s == Unmanaged }

// Live is the live version of a key as the store has it, verified.
type Live struct {
	Key      kv.Key
	State    State
	Plain    []byte       // nil unless it matches the checksum row
	SHA256   string       // of Plain; "" without
	Manifest *kv.Manifest // nil unless it can be read. It may be about other bytes: see Own
	Why      string       // the damage, for people
	// Torn is damage that time may heal: the data can be read and the checksum
	// is of other bytes, as between the two writes of kvexpress 1.x.
	Torn  bool
	Index uint64 // of the checksum row; 0: there is none

	dataSum     string // of the data as decoded, whatever the checksum row says
	rowSum      string // what the checksum row says
	badManifest bool
}

// maxLineage is the longest lineage that is carried on, in bytes. Ours have 32.
const maxLineage = 64

// Verify checks the three rows of a snapshot against each other. The error wraps
// kv.ErrDenied if a row is Denied, or is a *gate.Refusal (NeedsNewer) if only a later
// kvexpress can tell: then nothing may be overwritten.
func Verify(k kv.Key, data, checksum, manifest kv.Entry) (Live, error) {
	if err := gate.Readable(k, data, checksum, manifest); err != nil {
		return Live{}, err
	}
	v := Live{Key: k, Index: checksum.Index, rowSum: strings.TrimSpace(string(checksum.Value))}
	if manifest.State == kv.Present {
		m, err := ParseManifest(k, manifest.Value)
		switch {
		case errors.Is(err, kv.ErrManifestUnknown):
			return Live{}, needsNewer(k, err)
		case err != nil:
			v.badManifest, v.Why = true, err.Error()
		default:
			v.Manifest = &m
		}
	}
	encoding, err := FromFlags(data.Flags)
	switch {
	case data.State == kv.Present && err != nil:
		return Live{}, needsNewer(k, err)
	case data.State == kv.Absent && checksum.State == kv.Absent && manifest.State == kv.Absent:
		v.State = Absent
		return v, nil
	}
	v.decode(data, checksum, encoding, SizeLimit(v.Manifest, v.rowSum, encoding))
	switch {
	case v.Why != "":
		v.State = Damaged
	case v.Own() == nil:
		v.State = Unmanaged
	default:
		v.State = Managed
	}
	return v, nil
}

// decode sets Plain and SHA256, or else Why.
func (v *Live) decode(data, checksum kv.Entry, e Encoding, most int) {
	if data.State == kv.Absent {
		v.Why = "its data is missing"
		return
	}
	plain, err := DecodeUpTo(e, data.Value, most)
	switch {
	case errors.Is(err, ErrTooBig) && most < MaxPlain:
		v.Torn, v.Why = true, fmt.Sprintf("its data has more than the %d bytes of its manifest", most)
		return
	case err != nil:
		v.Why = fmt.Sprintf("its data cannot be read: %v", err)
		return
	}
	sum := Checksum(plain)
	if sum != v.rowSum && e == Plain {
		// kvexpress 1.14 and older left no mark on what they compressed.
		if old, err := DecodeLegacyGzip(data.Value); err == nil && Checksum(old) == v.rowSum {
			plain, sum = old, v.rowSum
		}
	}
	v.dataSum = sum
	switch {
	case sum == v.rowSum:
		v.Plain, v.SHA256 = plain, sum
	case checksum.State == kv.Absent:
		v.Torn, v.Why = true, "its checksum is missing"
	default:
		v.Torn, v.Why = true, "its data does not match its checksum"
	}
}

// SizeLimit is how many bytes the data with this SHA-256 may decode to: those of its
// manifest, or MaxPlain. Only brotli is held to its manifest: plain data is in memory
// already, and a zstd frame may need more memory than its content has bytes.
func SizeLimit(m *kv.Manifest, sha string, e Encoding) int {
	if m == nil || m.SHA256 != sha || m.Size <= 0 || m.Size > MaxPlain || e != Brotli {
		return MaxPlain
	}
	return int(m.Size)
}

// Memory is how many bytes of plain data Verify may hold for these rows.
func Memory(k kv.Key, data, checksum, manifest kv.Entry) int {
	e, err := FromFlags(data.Flags)
	gzip := bytes.HasPrefix(bytes.TrimLeft(data.Value, "\r\n"), []byte("H")) // in base64, which 1.14 wrote
	if err != nil || e == Plain && !gzip {
		return len(data.Value)
	}
	m, err := ParseManifest(k, manifest.Value)
	if err != nil {
		return MaxPlain
	}
	return SizeLimit(&m, strings.TrimSpace(string(checksum.Value)), e)
}

// Claimed is the SHA-256 that checksum and manifest promise for the data of k, without
// reading the data; "" if they promise nothing reliable. The manifest is nil unless it is
// about those bytes. Errors are those of Verify.
func Claimed(k kv.Key, checksum, manifest kv.Entry) (string, *kv.Manifest, error) {
	v, err := Verify(k, kv.Entry{State: kv.Absent}, checksum, manifest)
	if err != nil {
		return "", nil, err
	}
	if checksum.State != kv.Present || !kv.IsSHA256(v.rowSum) {
		v.rowSum = ""
	}
	v.SHA256 = v.rowSum
	return v.rowSum, v.Own(), nil
}

// ParseManifest is kv.ParseManifest for the manifest of k: one that was written
// for another key, or with a lineage of over 64 bytes, is corrupt too.
func ParseManifest(k kv.Key, b []byte) (kv.Manifest, error) {
	m, err := kv.ParseManifest(b)
	switch {
	case err != nil:
		return m, err
	case m.Key != k:
		return m, fmt.Errorf("%w: it was written for the key %s", kv.ErrManifestCorrupt, kv.Quote(string(m.Key)))
	case len(m.Lineage) > maxLineage:
		return m, fmt.Errorf("%w: its lineage has %d bytes", kv.ErrManifestCorrupt, len(m.Lineage))
	}
	return m, nil
}

func needsNewer(k kv.Key, why error) error {
	return &gate.Refusal{Reason: gate.NeedsNewer, Key: k, Detail: why.Error(), Remedy: "use the newer kvexpress that wrote it"}
}

// Own is the manifest, if it is about the live bytes; else nil.
func (v Live) Own() *kv.Manifest {
	if v.Manifest == nil || v.Manifest.SHA256 != v.SHA256 {
		return nil
	}
	return v.Manifest
}

// Version is the number of the live managed version: 0 for an absent or unmanaged key, and
// false where damage hides it.
func (v Live) Version() (uint64, bool) {
	switch {
	case v.badManifest:
		return 0, false
	case v.Manifest == nil || v.State == Unmanaged:
		return 0, true
	}
	return v.Manifest.Version, true
}

// Installable decides whether a node may install it: whole, not empty, long enough. The
// error is a *gate.Missing or a *gate.Refusal.
func (v Live) Installable(minLines int) error {
	if v.State == Absent {
		return &gate.Missing{Name: string(v.Key)}
	}
	if v.SHA256 != "" {
		return gate.LongEnough(v.Key, len(v.Plain), Lines(v.Plain), minLines)
	}
	r := &gate.Refusal{Reason: gate.Corrupt, Key: v.Key, Detail: v.Why, Remedy: gate.Again(v.Key) + "; the file stays as it is"}
	if v.Torn {
		r.Reason = gate.Mismatch
	}
	return r
}

// Decision is what a publish of certain bytes does to the live version.
type Decision int

const (
	// Keep: the same bytes are live, whole. Nothing is written.
	Keep Decision = iota + 1
	// Replace: other bytes, or none, are live.
	Replace
	// Heal: the same bytes are live, damaged.
	Heal
)

// Decide tells what to do to publish bytes with this SHA-256.
func (v Live) Decide(sha256 string) Decision {
	switch {
	case v.State == Damaged:
		if v.dataSum == sha256 || v.rowSum == sha256 || v.Manifest != nil && v.Manifest.SHA256 == sha256 {
			return Heal
		}
	case v.SHA256 == sha256:
		return Keep
	}
	return Replace
}
