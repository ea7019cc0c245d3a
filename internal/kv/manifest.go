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

// ManifestFormat is the newest manifest format that this program knows.
const ManifestFormat = 1

// maxManifest is the size in bytes above which a manifest is not parsed. The
// largest that we write is a tenth of it.
const maxManifest = 64 << 10

// MaxMessage is the longest message (`-m`) in bytes; MaxBy the longest author.
const (
	MaxMessage = 512
	MaxBy      = 128
)

// ErrManifestCorrupt is a manifest that nobody could have meant: not JSON, or
// without a lineage, a version or a checksum.
var ErrManifestCorrupt = errors.New("the manifest is damaged")

// ErrManifestUnknown is a manifest that a later kvexpress wrote: a higher
// format, or an entry in "requires" that this program does not know. What it
// describes must not be installed or overwritten by this program.
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
	PublishedAt time.Time `json:"published_at"` // by the publisher's clock: for people, never for decisions
	// ClockOffset is by how many milliseconds that clock was ahead of the store's; nil: it
	// is not known.
	ClockOffset *int64   `json:"clock_offset_ms,omitempty"`
	By          string   `json:"by"` // user@host
	Message     string   `json:"message,omitempty"`
	Requires    []string `json:"requires,omitempty"` // features a reader must know
	// Previous is the version that this one replaced; 0: none, or one without a number.
	Previous uint64 `json:"previous,omitempty"`
	// Nodes is how many nodes had reported anything when this was published, as far
	// as the publisher could tell; 0: it could not. By it nodes spread their receipts.
	Nodes int `json:"nodes,omitempty"`
}

// NewID returns a random id of 128 bits in hex, for lineages and publishes.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
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

// ParseManifest reads a stored manifest. Unknown fields are ignored. The error
// wraps ErrManifestCorrupt or ErrManifestUnknown.
func ParseManifest(b []byte) (Manifest, error) {
	corrupt := func(format string, args ...any) (Manifest, error) {
		return Manifest{}, fmt.Errorf("%w: %s", ErrManifestCorrupt, safetext.Cut(fmt.Sprintf(format, args...), MaxMessage))
	}
	if len(b) > maxManifest {
		return corrupt("it has %d bytes, at most %d are read", len(b), maxManifest)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		// A later kvexpress may give fields other types: these two decide.
		var head struct {
			Format   int             `json:"format"`
			Requires json.RawMessage `json:"requires"`
		}
		if json.Unmarshal(b, &head) == nil && (head.Format > ManifestFormat || len(head.Requires) > 0) {
			return Manifest{}, fmt.Errorf("%w: its format is %d, and it cannot be read", ErrManifestUnknown, head.Format)
		}
		return corrupt("%v", err)
	}
	if m.Format > ManifestFormat {
		return Manifest{}, fmt.Errorf("%w: its format is %d, this one knows up to %d", ErrManifestUnknown, m.Format, ManifestFormat)
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

// IsSHA256 reports whether s is a SHA-256 as we write it: 64 lower-case hex
// digits.
func IsSHA256(s string) bool {
	return len(s) == 64 && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}
