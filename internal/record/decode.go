package record

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

// Decode returns the plain data of stored bytes. For Plain the result is
// stored itself, not a copy.
//
// It stops after MaxPlain bytes, and needs at most a few times as much memory,
// whatever the input. The error wraps ErrCorrupt, ErrTooBig or ErrUnknown.
// Only the checksum proves that these are the published bytes.
func Decode(e Encoding, stored []byte) ([]byte, error) {
	return DecodeUpTo(e, stored, MaxPlain)
}

// DecodeUpTo is Decode with a lower limit on the plain data, in bytes.
func DecodeUpTo(e Encoding, stored []byte, most int) ([]byte, error) {
	switch e {
	case Plain:
		if len(stored) > most {
			return nil, ErrTooBig
		}
		return stored, nil
	case Brotli:
		plain, err := readCapped(brotli.NewReader(bytes.NewReader(stored)), most)
		return plain, reason("brotli", err)
	case Zstd:
		plain, err := decodeZstd(stored, most)
		return plain, reason("zstd", err)
	default:
		return nil, unknownName(string(e))
	}
}

// DecodeLegacyGzip decodes gzip in standard base64, which kvexpress up to 1.14 wrote with
// -z and KV flags 0. Limits and errors are those of Decode.
func DecodeLegacyGzip(stored []byte) ([]byte, error) {
	packed, err := base64.StdEncoding.AppendDecode(nil, stored)
	if err != nil {
		return nil, reason("base64", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, reason("gzip", err)
	}
	plain, err := readCapped(r, MaxPlain)
	return plain, reason("gzip", err)
}

func decodeZstd(stored []byte, most int) ([]byte, error) {
	if len(stored) == 0 {
		return nil, io.ErrUnexpectedEOF // the decoder takes no frame for no data
	}
	// The maximum is for the window that a frame's header asks for, too.
	r, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(uint64(most)))
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

// readCapped reads to the end, so that the decoder checks all of the input, but never more
// than most bytes. If most is below MaxPlain, it needs no more memory than that.
func readCapped(r io.Reader, most int) ([]byte, error) {
	r = io.LimitReader(r, int64(most)+1)
	var plain []byte
	var err error
	if most < MaxPlain {
		all := bytes.NewBuffer(make([]byte, 0, most+bytes.MinRead))
		_, err = all.ReadFrom(r)
		plain = all.Bytes()
	} else {
		plain, err = io.ReadAll(r) // which grows by less than a buffer does
	}
	if err != nil {
		return nil, err
	}
	if len(plain) > most {
		return nil, ErrTooBig
	}
	return plain, nil
}

// reason turns a decoder's error into one of this package.
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
