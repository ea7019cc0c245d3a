package record

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest zstd window, in bytes: a reader needs memory for it.
const maxWindow = 1 << 20

// Encode returns plain as it is stored. The same input gives the same bytes,
// whatever the machine. For Plain the result is plain itself, not a copy.
//
// Brotli is written at its best and slowest level, as in 1.16: some seconds
// for the largest inputs. The error wraps ErrTooBig above MaxPlain bytes, and
// ErrUnknown for an encoding that is none of the constants.
func Encode(e Encoding, plain []byte) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrTooBig, len(plain))
	}
	switch e {
	case Plain:
		return plain, nil
	case Brotli:
		return encodeBrotli(plain)
	case Zstd:
		return encodeZstd(plain, zstd.SpeedBetterCompression)
	default:
		return nil, unknownName(string(e))
	}
}

func encodeBrotli(plain []byte) ([]byte, error) {
	var stored bytes.Buffer
	w := brotli.NewWriterLevel(&stored, brotli.BestCompression)
	_, err := w.Write(plain)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("encode as brotli: %w", err)
	}
	return stored.Bytes(), nil
}

// Pack returns plain as history stores it: zstd at its fastest level. Every publish does it,
// and it needs a twentieth of the time and memory of Encode(Zstd, …). Decode(Zstd, …)
// reads it.
func Pack(plain []byte) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrTooBig, len(plain))
	}
	return encodeZstd(plain, zstd.SpeedFastest)
}

func encodeZstd(plain []byte, level zstd.EncoderLevel) ([]byte, error) {
	// A window larger than the content would only cost memory.
	window := zstd.MinWindowSize
	for window < len(plain) && window < maxWindow {
		window *= 2
	}
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithWindowSize(window),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderConcurrency(1),
		zstd.WithZeroFrames(true)) // without it no data becomes no bytes at all
	if err != nil {
		return nil, fmt.Errorf("encode as zstd: %w", err)
	}
	stored := w.EncodeAll(plain, nil)
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode as zstd: %w", err)
	}
	return stored, nil
}
