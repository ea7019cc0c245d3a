package disk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

// Any bytes are no record, or one that is written and read as the same again.
func FuzzRecord(f *testing.F) {
	c := sample(7)
	for i := range c.Rows {
		for _, b := range disk.Records(c.Rows[i], c.Graves[i%2], c.Sessions[i%2]) {
			f.Add(b)
			f.Add(b[8:])
		}
	}
	f.Add([]byte{})
	f.Add(append([]byte("r"), bytes.Repeat([]byte{0xff}, 30)...))
	f.Add([]byte("s\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := disk.Decode(b); err == nil && len(again) < 9 {
			t.Errorf("%q is a record of nothing", b)
		}
		sealed := disk.Sealed(b) // with a CRC that is right
		first, err := disk.Decode(sealed)
		if err != nil {
			return
		}
		if len(first) > len(sealed) {
			t.Errorf("%q grew to %q", sealed, first)
		}
		second, err := disk.Decode(first)
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%q was read, written as %q, and then %q, %v", sealed, first, second, err)
		}
		for i := range sealed { // one bit anywhere, and it is none
			if i > 64 {
				break
			}
			broken := bytes.Clone(sealed)
			broken[i] ^= 1 << (i % 8)
			if _, err := disk.Decode(broken); err == nil {
				t.Errorf("with byte %d changed %q is still a record", i, broken)
			}
		}
	})
}

// Any file is refused, or loaded and written to, and nothing panics.
func FuzzFile(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "store")
	j, _ := open(f, dir)
	add(f, j, set(1, "a", []byte("b")), local.Change{Index: 2, Graves: []local.Grave{{Path: "g", At: time.Unix(1, 0)}}, Sessions: []*local.Session{{ID: "s"}}})
	shut(f, j)
	whole := bytes.TrimRight(read(f, path(dir)), "\x00")
	f.Add(uint32(0), []byte{}, uint32(0))
	f.Add(uint32(4096+16), []byte("\xff\xff\xff"), uint32(len(whole)))
	f.Add(uint32(2*4096+10), []byte("\xff\xff\xff\xff\xff\xff"), uint32(1<<30))
	f.Add(uint32(16+40), []byte("\x00\x00\x00\x00\x00\x00\x00\x7f"), uint32(1<<30))
	for page := range uint32(len(whole)/4096 + 1) {
		f.Add(page*4096+8, []byte("\x01\x00\xff\xff"), uint32(1<<30))
		f.Add(page*4096+16, []byte("\x00\x00\x00\x00\xff\xff\xff\xff"), uint32(1<<30))
	}
	original := read(f, path(dir))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, size uint32) {
		b := bytes.Clone(original)
		copy(b[min(int(at), len(b)):], patch)
		b = b[:min(int(size), len(b))]
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path(dir), b)
		j, err := disk.Open(dir)
		if err != nil {
			if !errors.Is(err, disk.ErrDamaged) && !errors.Is(err, disk.ErrNewer) {
				t.Errorf("error %v", err)
			}
			return
		}
		var s local.Saved
		if err := j.Load(&s); err != nil {
			t.Fatal(err)
		}
		add(t, j, set(s.Index+1, "c", []byte("d")))
		shut(t, j)
		if again := reopened(t, dir); len(again.Rows) < 1 || again.Index != s.Index+1 {
			t.Errorf("after a write: %+v", again)
		}
	})
}
