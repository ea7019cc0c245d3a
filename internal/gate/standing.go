package gate

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// State is how whole a key is in the store.
type State int

const (
	// Absent: no data, no checksum, no manifest.
	Absent State = iota + 1
	// Managed: data, checksum and manifest agree.
	Managed
	// Unmanaged: data and checksum agree, and kvexpress 1.x wrote them: there
	// is no manifest, or it speaks of other bytes.
	Unmanaged
	// Damaged: they do not agree, one is missing, or one cannot be read.
	Damaged
)

// Standing is what stands in the store under a key.
type Standing struct {
	State    State
	Plain    []byte       // the plain bytes; nil unless they match the checksum row
	SHA256   string       // of Plain; "" without
	Manifest *kv.Manifest // nil unless there is one that can be read
	Why      string       // what is damaged, for people
	// Torn is damage that time may heal: the data can be read and the checksum
	// is of other bytes, as between the two writes of kvexpress 1.x.
	Torn bool
	// Index is that of the checksum row; 0: there is none.
	Index uint64

	dataSum     string // of the data as decoded, whatever the checksum row says
	rowSum      string // what the checksum row says
	badManifest bool
}

// TornWaits are the times to give a writer of 1.x, who puts data and checksum one
// after the other, before a Torn standing is taken for damage: read again after
// each.
func TornWaits() []time.Duration {
	return []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond}
}

// maxLineage is the longest lineage that is carried on, in bytes. Ours have 32.
const maxLineage = 64

// Examine tells what stands under k from its three rows, all of one moment.
// The error wraps kv.ErrDenied if a row is Denied, or is a *Refusal (NeedsNewer)
// if only a later kvexpress can tell: then nothing may be overwritten.
func Examine(k kv.Key, data, checksum, manifest kv.Entry) (Standing, error) {
	if data.State == kv.Denied || checksum.State == kv.Denied || manifest.State == kv.Denied {
		return Standing{}, fmt.Errorf("%s: not all of its rows may be read: %w", k, kv.ErrDenied)
	}
	s := Standing{Index: checksum.Index}
	if manifest.State == kv.Present {
		m, err := ReadManifest(k, manifest.Value)
		switch {
		case errors.Is(err, kv.ErrManifestUnknown):
			return Standing{}, needsNewer(k, err.Error())
		case err != nil:
			s.badManifest, s.Why = true, err.Error()
		default:
			s.Manifest = &m
		}
	}
	encoding, err := record.FromFlags(data.Flags)
	if data.State == kv.Present && err != nil {
		return Standing{}, needsNewer(k, err.Error())
	}
	if data.State == kv.Absent && checksum.State == kv.Absent && manifest.State == kv.Absent {
		s.State = Absent
		return s, nil
	}
	s.rowSum = strings.TrimSpace(string(checksum.Value))
	s.examineData(data, checksum, encoding, Promised(s.Manifest, s.rowSum, encoding))
	switch {
	case s.Why != "":
		s.State = Damaged
	case s.Manifest == nil || s.Manifest.SHA256 != s.SHA256:
		s.State = Unmanaged
	default:
		s.State = Managed
	}
	return s, nil
}

// Promised is how many bytes of plain data there may be, if the manifest tells it of the bytes with this SHA-256. Only brotli is
// held to it: plain data is in memory already, and a zstd frame may ask for more memory than its content has bytes.
func Promised(m *kv.Manifest, sha string, e record.Encoding) int {
	if m == nil || m.SHA256 != sha || m.Size <= 0 || m.Size > record.MaxPlain || e != record.Brotli {
		return record.MaxPlain
	}
	return int(m.Size)
}

// MostPlain is how many bytes of plain data Examine may hold for these rows.
func MostPlain(k kv.Key, data, checksum, manifest kv.Entry) int {
	e, err := record.FromFlags(data.Flags)
	old := bytes.HasPrefix(bytes.TrimLeft(data.Value, "\r\n"), []byte("H")) // as gzip in base64, which 1.14 wrote, does
	if err != nil || e == record.Plain && !old {
		return len(data.Value)
	}
	m, err := ReadManifest(k, manifest.Value)
	if err != nil {
		return record.MaxPlain
	}
	return Promised(&m, strings.TrimSpace(string(checksum.Value)), e)
}

// examineData sets Plain and SHA256, or else Why.
func (s *Standing) examineData(data, checksum kv.Entry, e record.Encoding, most int) {
	if data.State == kv.Absent {
		s.Why = "its data is missing"
		return
	}
	plain, err := record.DecodeUpTo(e, data.Value, most)
	switch {
	case errors.Is(err, record.ErrTooBig) && most < record.MaxPlain:
		s.Torn, s.Why = true, fmt.Sprintf("its data has more than the %d bytes of its manifest", most)
		return
	case err != nil:
		s.Why = fmt.Sprintf("its data cannot be read: %v", err)
		return
	}
	sum := record.Checksum(plain)
	if sum != s.rowSum && e == record.Plain {
		// kvexpress 1.14 and older left no mark on what they compressed.
		if old, err := record.DecodeLegacyGzip(data.Value); err == nil && record.Checksum(old) == s.rowSum {
			plain, sum = old, s.rowSum
		}
	}
	s.dataSum = sum
	switch {
	case sum == s.rowSum:
		s.Plain, s.SHA256 = plain, sum
	case checksum.State == kv.Absent:
		s.Torn, s.Why = true, "its checksum is missing"
	default:
		s.Torn, s.Why = true, "its data is not what its checksum says"
	}
}

// ReadManifest is kv.ParseManifest for the manifest of k: one that was written
// for another key, or whose lineage is beyond reason, is corrupt too.
func ReadManifest(k kv.Key, b []byte) (kv.Manifest, error) {
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

func needsNewer(k kv.Key, detail string) *Refusal {
	return &Refusal{
		Reason: NeedsNewer, Key: k, Detail: detail,
		Remedy: "use the newer kvexpress that wrote it",
	}
}

// Version is the number of the managed version that stands: 0 for an absent or
// unmanaged key, and false where damage hides it.
func (s Standing) Version() (uint64, bool) {
	switch {
	case s.badManifest:
		return 0, false
	case s.Manifest == nil || s.State == Unmanaged:
		return 0, true
	}
	return s.Manifest.Version, true
}

// Decision is what a publish of certain bytes does to what stands.
type Decision int

const (
	// Keep: the same bytes stand, whole. Nothing is written.
	Keep Decision = iota + 1
	// Replace: other bytes, or none, stand.
	Replace
	// Heal: the same bytes stand, damaged.
	Heal
)

// Decide tells what to do to publish bytes with this SHA-256.
func (s Standing) Decide(sha256 string) Decision {
	switch {
	case s.State == Damaged:
		if s.dataSum == sha256 || s.rowSum == sha256 || s.Manifest != nil && s.Manifest.SHA256 == sha256 {
			return Heal
		}
	case s.SHA256 == sha256:
		return Keep
	}
	return Replace
}
