package record

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func allEncodings() []Encoding { return []Encoding{Plain, Brotli, Zstd} }

// random returns n bytes that do not compress, the same ones every time.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// hosts returns n bytes that look like a hosts file.
func hosts(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "10.0.%d.%d\tnode-%04d.example.net node-%04d\n", i>>8&255, i&255, i, i)
	}
	return b.Bytes()[:n]
}

// form is one way of storing data, with a writer that is not this package's
// and that streams, so that bombs can be made.
type form struct {
	name   string
	decode func([]byte) ([]byte, error)
	open   func(io.Writer) (io.WriteCloser, error)
}

func storedForms() []form {
	decode := func(e Encoding) func([]byte) ([]byte, error) {
		return func(stored []byte) ([]byte, error) { return Decode(e, stored) }
	}
	return []form{
		{"plain", decode(Plain), func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }},
		{"brotli", decode(Brotli), func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriterLevel(w, 1), nil }},
		{"zstd", decode(Zstd), func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) }},
		{"gzip", DecodeLegacyGzip, newGzipBase64},
	}
}

// pack returns the stored form of all that plain yields.
func (s form) pack(t testing.TB, plain io.Reader) []byte {
	t.Helper()
	var stored bytes.Buffer
	w, err := s.open(&stored)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return stored.Bytes()
}

// write returns the stored form of n zeros.
func (s form) write(t testing.TB, n int64) []byte {
	t.Helper()
	return s.pack(t, io.LimitReader(zeros{}, n))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

type gzipBase64 struct {
	*gzip.Writer
	text io.Closer
}

func newGzipBase64(w io.Writer) (io.WriteCloser, error) {
	text := base64.NewEncoder(base64.StdEncoding, w)
	return gzipBase64{gzip.NewWriter(text), text}, nil
}

func (g gzipBase64) Close() error {
	return errors.Join(g.Writer.Close(), g.text.Close())
}
