package record

import (
	"bytes"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plain []byte
	}{
		{"no byte", []byte{}},
		{"one byte", []byte("x")},
		{"only newlines", []byte("\n\n\n")},
		{"random 1000", random(1000)},
		{"random large", random(largeSize)},
		{"hosts large", hosts(largeSize)},
	} {
		for _, e := range allEncodings() {
			t.Run(tt.name+"/"+string(e), func(t *testing.T) {
				stored, err := Encode(e, tt.plain)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Decode(e, stored)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, tt.plain) {
					t.Fatalf("%d bytes came back as %d other ones", len(tt.plain), len(got))
				}
				again, err := Encode(e, tt.plain)
				if err != nil || !bytes.Equal(again, stored) {
					t.Fatalf("a second Encode gave other bytes (%v)", err)
				}
			})
		}
	}
}

func TestCompressionIsWorthIt(t *testing.T) {
	plain := hosts(38 << 10)
	for _, e := range []Encoding{Brotli, Zstd} {
		stored, err := Encode(e, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(stored) > len(plain)/5 {
			t.Errorf("%s made %d bytes of %d", e, len(stored), len(plain))
		}
	}
}

// The value that kvexpress 1.14's own tests expect in the store for a text
// with that checksum.
func TestValueWrittenBy114(t *testing.T) {
	const stored = "H4sIAAAJbogA/4SPzUrEQBCE7/MUzXod9g28iD940ZMnWaRNV5LByfQ605vVt7eTIIgI3oaa+r6in0X2bzM+jhWtHUKnpU8DXVJOPUJYfhvkEI4Z3OC5aKSiFteHjalFSn2kMyJ1XCLxrEk8sw0WTCr86eaMGdkF9w+3j0HYWHTZqXoytP2URDLOXJfRrMOA+lJV7Rc3cvFabSuo5sWf9cX0P/B+4lx4wp/jF7T75q9vrp7uduRI80OxlWli60YIuXdNUhlo5pr4NbvpCwAA//8BAAD//38Ab4hOAQAA"
	const checksum = "307b198c768b7a174b11e00c70bb1bd7b32597a86790279f763c4544dc12d1ff"
	plain, err := DecodeLegacyGzip([]byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	if got := Checksum(plain); got != checksum {
		t.Errorf("%d bytes with the checksum %s, want %s", len(plain), got, checksum)
	}
}
