package record

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func TestMaxPlainIsTheLastSizeThatWorks(t *testing.T) {
	for _, s := range storedForms() {
		t.Run(s.name, func(t *testing.T) {
			got, err := s.decode(s.write(t, MaxPlain))
			if err != nil || len(got) != MaxPlain {
				t.Errorf("MaxPlain: %d bytes, %v", len(got), err)
			}
			got, err = s.decode(s.write(t, MaxPlain+1))
			if !errors.Is(err, ErrTooBig) || got != nil {
				t.Errorf("MaxPlain+1: %d bytes, %v, want ErrTooBig", len(got), err)
			}
		})
	}
	for _, e := range allEncodings() {
		if e == Brotli && !slowToo {
			continue
		}
		plain := make([]byte, MaxPlain)
		stored, err := Encode(e, plain)
		if err != nil {
			t.Fatalf("Encode %s of MaxPlain: %v", e, err)
		}
		if got, err := Decode(e, stored); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("MaxPlain as %s came back as %d bytes, %v", e, len(got), err)
		}
	}
	for _, e := range allEncodings() {
		if _, err := Encode(e, make([]byte, MaxPlain+1)); !errors.Is(err, ErrTooBig) {
			t.Errorf("Encode %s of MaxPlain+1: %v, want ErrTooBig", e, err)
		}
	}
}

func TestBombsCostLittleMemory(t *testing.T) {
	for _, s := range storedForms() {
		if s.name == "plain" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			stored := s.write(t, bombSize)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := s.decode(stored)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTooBig) || got != nil {
				t.Errorf("%d bytes, %v, want ErrTooBig", len(got), err)
			}
			// All that was ever allocated, freed or not: more than any peak.
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 8*MaxPlain {
				t.Errorf("refusing a bomb of %d bytes allocated %d MiB", len(stored), spent>>20)
			}
		})
	}
}

func TestZstdWindowIsLimited(t *testing.T) {
	// A frame of a few bytes whose header asks for a window of 512 MiB.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 19 << 3, 0x01, 0x00, 0x00}
	if _, err := Decode(Zstd, frame); !errors.Is(err, ErrTooBig) {
		t.Errorf("got %v, want ErrTooBig", err)
	}
	frame[5] = 10 << 3 // 1 MiB: the same frame is valid
	if got, err := Decode(Zstd, frame); err != nil || len(got) != 0 {
		t.Errorf("with a small window: %d bytes, %v", len(got), err)
	}
}

func TestDamagedDataIsRefused(t *testing.T) {
	plain := hosts(70 << 10)
	for _, s := range storedForms() {
		if s.name == "plain" {
			continue // its length and content are the checksum's business
		}
		t.Run(s.name, func(t *testing.T) {
			whole := s.pack(t, bytes.NewReader(plain))
			if got, err := s.decode(whole); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("whole: %d bytes, %v", len(got), err)
			}
			refused := func(what string, stored []byte) {
				t.Helper()
				got, err := s.decode(stored)
				if !errors.Is(err, ErrCorrupt) || got != nil {
					t.Errorf("%s: %d bytes, %v, want ErrCorrupt", what, len(got), err)
				} else if strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: the message has several lines: %q", what, err)
				}
			}
			for n := range whole {
				if n > 300 && n < len(whole)-300 && n%61 != 0 {
					continue // each takes a decoder; the ends are where formats differ
				}
				refused(fmt.Sprintf("cut to %d of %d bytes", n, len(whole)), whole[:n])
			}
			for _, tail := range []string{"x", "\x00", "\x00\x00\x00\x00", "\xff\xff", strings.Repeat("garbage!", 9000)} {
				refused(fmt.Sprintf("followed by %d bytes", len(tail)), append(bytes.Clone(whole), tail...))
			}
			refused("not in this encoding", []byte("127.0.0.1 localhost\n"))
		})
	}
}
