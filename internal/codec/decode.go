package codec

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Decode returns the plain data of what is stored. For Plain the result is
// stored itself, not a copy.
//
// It stops as soon as there are more than MaxPlain bytes, and needs at most a
// few times as much memory, whatever the input. The error wraps ErrCorrupt,
// ErrTooBig or ErrUnknown. That nothing is wrong here does not mean that these
// are the published bytes: only their checksum tells.
func Decode(e Encoding, stored []byte) ([]byte, error) {
	switch e {
	case Plain:
		if len(stored) > MaxPlain {
			return nil, ErrTooBig
		}
		return stored, nil
	case Brotli:
		plain, err := readCapped(brotli.NewReader(bytes.NewReader(stored)))
		return plain, reason("brotli", err)
	case Zstd:
		plain, err := decodeZstd(stored)
		return plain, reason("zstd", err)
	default:
		return nil, unknownName(string(e))
	}
}

// DecodeLegacyGzip decodes what kvexpress up to 1.14 wrote with -z, with KV
// flags 0: gzip in standard base64. Limits and errors are those of Decode.
func DecodeLegacyGzip(stored []byte) ([]byte, error) {
	packed, err := base64.StdEncoding.AppendDecode(nil, stored)
	if err != nil {
		return nil, reason("base64", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, reason("gzip", err)
	}
	plain, err := readCapped(r)
	return plain, reason("gzip", err)
}

func decodeZstd(stored []byte) ([]byte, error) {
	if len(stored) == 0 {
		return nil, io.ErrUnexpectedEOF // the decoder takes no frame for no data
	}
	// The maximum is for the window that a frame's header asks for, too.
	r, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(MaxPlain))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	plain, err := r.DecodeAll(stored, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, ErrTooBig
	}
	if err != nil {
		return nil, err
	}
	return plain, nil
}

// readCapped reads to the end, so that the reader sees and judges all of the
// input, but never more than MaxPlain bytes.
func readCapped(r io.Reader) ([]byte, error) {
	plain, err := io.ReadAll(io.LimitReader(r, MaxPlain+1))
	if err != nil {
		return nil, err
	}
	if len(plain) > MaxPlain {
		return nil, ErrTooBig
	}
	return plain, nil
}

// reason turns a decoder's complaint into an error of this package.
func reason(format string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrTooBig):
		return fmt.Errorf("%s: %w", format, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %s: it is cut short", ErrCorrupt, format)
	default:
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, format, err)
	}
}
