package kv

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/safetext"
)

// ManifestFormat is the newest manifest format that this program reads.
const ManifestFormat = 1

// maxManifest limits a manifest that is parsed, in bytes. The largest that we write is a tenth of it.
const maxManifest = 64 << 10

// MaxMessage limits a message (`-m`) in bytes, and MaxBy an author.
const (
	MaxMessage = 512
	MaxBy      = 128
)

// ErrManifestCorrupt: the manifest is not JSON, or has no lineage, version or checksum.
var ErrManifestCorrupt = errors.New("the manifest is damaged")

// ErrManifestUnknown: a later kvexpress wrote the manifest, with a higher format or an unknown entry in "requires". This program
// must neither install nor overwrite the version.
var ErrManifestUnknown = errors.New("the manifest needs a newer kvexpress")

// Manifest describes one published version of a key.
type Manifest struct {
	Format      int       `json:"format"`
	Lineage     string    `json:"lineage"`      // random, made with version 1, the same for all later ones
	Version     uint64    `json:"version"`      // 1, 2, 3 … within the lineage
	PublishID   string    `json:"publish_id"`   // random, one for each publish; resolves unknown outcomes
	Key         Key       `json:"key"`          // the key this was written for
	SHA256      string    `json:"sha256"`       // of the plain bytes, 64 hex digits
	Size        int64     `json:"size"`         // of the plain bytes, in bytes
	Lines       int       `json:"lines"`        // as codec.Lines counts
	Encoding    string    `json:"encoding"`     // "plain", "brotli" or "zstd"
	PublishedAt time.Time `json:"published_at"` // by the publisher's clock: for people, not for decisions
	// ClockOffset is the skew of that clock against the store's, in milliseconds; nil: unknown.
	ClockOffset *int64   `json:"clock_offset_ms,omitempty"`
	By          string   `json:"by"` // user@host
	Message     string   `json:"message,omitempty"`
	Requires    []string `json:"requires,omitempty"` // features a reader must know
	// Previous is the version that this one replaced; 0: none, or a version without a number.
	Previous uint64 `json:"previous,omitempty"`
	// Now: it was published to all nodes at once with --now, past the stages of its policy.
	Now bool `json:"now,omitempty"`
}

// NewID returns a random id of 128 bits in hex, for lineages and publishes.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return hex.EncodeToString(b[:])
}

// Marshal returns the bytes that are stored.
func (m Manifest) Marshal() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode the manifest of %s: %w", m.Key, err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// ParseManifest reads a stored manifest. Unknown fields are ignored. The error wraps ErrManifestCorrupt or ErrManifestUnknown.
func ParseManifest(b []byte) (Manifest, error) {
	corrupt := func(format string, args ...any) (Manifest, error) {
		return Manifest{}, fmt.Errorf("%w: %s", ErrManifestCorrupt, safetext.Cut(fmt.Sprintf(format, args...), MaxMessage))
	}
	if len(b) > maxManifest {
		return corrupt("it has %d bytes, at most %d are read", len(b), maxManifest)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		// A later kvexpress may change the types of fields. These two decide.
		var head struct {
			Format   int             `json:"format"`
			Requires json.RawMessage `json:"requires"`
		}
		if json.Unmarshal(b, &head) == nil && (head.Format > ManifestFormat || len(head.Requires) > 0) {
			return Manifest{}, fmt.Errorf("%w: its format is %d, and it cannot be parsed", ErrManifestUnknown, head.Format)
		}
		return corrupt("%v", err)
	}
	if m.Format > ManifestFormat {
		return Manifest{}, fmt.Errorf("%w: its format is %d, this kvexpress reads up to %d", ErrManifestUnknown,
			m.Format, ManifestFormat)
	}
	if len(m.Requires) > 0 {
		return Manifest{}, fmt.Errorf("%w: it requires %s", ErrManifestUnknown, Quote(m.Requires[0]))
	}
	switch {
	case m.Format < 1:
		return corrupt("it has no format")
	case m.Lineage == "":
		return corrupt("it has no lineage")
	case m.Version < 1:
		return corrupt("it has no version")
	case !IsSHA256(m.SHA256):
		return corrupt("its sha256 is not 64 hex digits")
	}
	m.By, m.Message = safetext.Cut(m.By, MaxBy), safetext.Cut(m.Message, MaxMessage)
	m.Encoding, m.PublishID = safetext.Cut(m.Encoding, MaxBy), safetext.Cut(m.PublishID, MaxBy)
	return m, nil
}

// IsSHA256 reports whether s is a SHA-256 in 64 lower-case hex digits.
func IsSHA256(s string) bool {
	return len(s) == 64 && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}
