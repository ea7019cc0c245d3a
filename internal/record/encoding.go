// Package record owns reading a key and its past versions, verified: which rows there are,
// how their data is encoded, and whether data, checksum and manifest agree. Everything that
// reads a key uses Read. It writes nothing. Of this module it imports kv, gate and wait.
package record

import (
	"errors"
	"fmt"
	"slices"

	"kvexpress/internal/kv"
)

// MaxPlain is the most bytes of plain data that are encoded or decoded. It
// keeps a small stored value from filling a node's memory.
const MaxPlain = 16 << 20

// The errors of this package wrap one of these.
var (
	// ErrCorrupt: the stored bytes are damaged, cut short, or followed by
	// something else.
	ErrCorrupt = errors.New("the stored data is damaged")
	// ErrTooBig: the plain data has more than MaxPlain bytes, or cannot be
	// decoded in as much memory.
	ErrTooBig = errors.New("the plain data is larger than 16 MiB")
	// ErrUnknown: an encoding that this program does not know.
	ErrUnknown = errors.New("unknown encoding")
)

// Encoding is how a key's data is stored, by the name that manifests use.
type Encoding string

const (
	// Plain is the data itself.
	Plain Encoding = "plain"
	// Brotli is the encoding that kvexpress 1.16 reads and writes with -z.
	Brotli Encoding = "brotli"
	// Zstd is faster in both directions, but 1.x cannot read it.
	Zstd Encoding = "zstd"
)

// encodings are in the order of their KV flags: 0, 1, 2. The flags are a contract with 1.x and with
// every installation: they never change.
var encodings = []Encoding{Plain, Brotli, Zstd} //nolint:gochecknoglobals // nothing changes it

const flagsChunks = 3 // reserved

// Flags is the KV flags that go with the encoding. Encode refuses an encoding
// that is not one of the constants, so nothing is ever stored under its flags.
func (e Encoding) Flags() uint64 { return uint64(max(0, slices.Index(encodings, e))) }

// FromFlags is the encoding that the KV flags of stored data name. Flags 0 can also be
// gzip of kvexpress up to 1.14, see DecodeLegacyGzip. The error wraps ErrUnknown.
func FromFlags(flags uint64) (Encoding, error) {
	switch {
	case flags < uint64(len(encodings)):
		return encodings[flags], nil
	case flags == flagsChunks:
		return "", fmt.Errorf("%w: KV flags 3 (data in chunks) need a newer kvexpress", ErrUnknown)
	}
	return "", fmt.Errorf("%w: KV flags %d were set by a newer kvexpress or by another program", ErrUnknown, flags)
}

// ParseEncoding is the encoding with that name. The error wraps ErrUnknown.
func ParseEncoding(name string) (Encoding, error) {
	if e := Encoding(name); slices.Contains(encodings, e) {
		return e, nil
	}
	return "", unknownName(name)
}

func unknownName(name string) error {
	return fmt.Errorf("%w: %s; use plain, brotli or zstd", ErrUnknown, kv.Quote(name))
}
