package record

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for flags, e := range allEncodings() {
		for _, plain := range [][]byte{nil, []byte("x"), hosts(300), random(40)} {
			stored, err := Encode(e, plain)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint64(flags), stored)
			f.Add(uint64(flags), stored[:len(stored)/2])
			f.Add(uint64(flags), append(bytes.Clone(stored), 0))
		}
	}
	f.Add(uint64(3), []byte("chunks"))
	f.Fuzz(func(t *testing.T, flags uint64, stored []byte) {
		e, err := FromFlags(flags)
		if err != nil {
			if !errors.Is(err, ErrUnknown) {
				t.Fatalf("flags %d: %v is no error of this package", flags, err)
			}
			return
		}
		plain, err := Decode(e, stored)
		if !checkDecoded(t, plain, err) || len(plain) > 4096 {
			return // best brotli is too slow for fuzzing with more
		}
		again, err := Encode(e, plain)
		if err != nil {
			t.Fatalf("the decoded data cannot be encoded: %v", err)
		}
		if back, err := Decode(e, again); err != nil || !bytes.Equal(back, plain) {
			t.Fatalf("decoded %q, then %q, %v", plain, back, err)
		}
	})
}

func FuzzDecodeLegacyGzip(f *testing.F) {
	for _, s := range storedForms() {
		if s.name != "gzip" {
			continue
		}
		for _, plain := range [][]byte{nil, []byte("x"), hosts(300)} {
			stored := s.pack(f, bytes.NewReader(plain))
			f.Add(stored)
			f.Add(stored[:len(stored)/2])
			f.Add(append(bytes.Clone(stored), "\n"...))
		}
	}
	f.Add([]byte("not base64 !"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		plain, err := DecodeLegacyGzip(stored)
		checkDecoded(t, plain, err)
	})
}

// checkDecoded checks the promises of every decoder. It reports success.
func checkDecoded(t *testing.T, plain []byte, err error) bool {
	t.Helper()
	if err == nil {
		if len(plain) > MaxPlain {
			t.Fatalf("%d bytes were decoded", len(plain))
		}
		return true
	}
	if plain != nil {
		t.Fatalf("%d bytes came with the error %v", len(plain), err)
	}
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooBig) {
		t.Fatalf("%v is no error of this package", err)
	}
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
		t.Fatalf("the message is not one clean line: %q", err)
	}
	return false
}
