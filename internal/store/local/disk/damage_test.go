package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

// stored makes a folder with rows on pages of all kinds.
func stored(t testing.TB) (dir string, m *model) {
	t.Helper()
	dir, m = t.TempDir(), newModel()
	j, _ := openSized(t, dir, disk.Direct) // each write goes into store.db
	defer shut(t, j)
	batch := []local.Change{sample(1)}
	for i := range 300 {
		batch = append(batch, set(uint64(i+2), fmt.Sprintf("rows/%04d", i), bytes.Repeat([]byte{byte(i)}, 100)))
	}
	add(t, j, batch...)
	m.add(batch...)
	for i := range 40 {
		c := set(uint64(i+1000), fmt.Sprintf("rows/%04d", i*7), fmt.Appendf(nil, "value %d", i))
		m.add(c)
		add(t, j, c)
	}
	return dir, m
}

// refused opens a damaged file, wants an error that helps, and the file left as it is.
func refused(t testing.TB, dir string, kind error, words ...string) {
	t.Helper()
	before := read(t, path(dir))
	j, err := disk.Open(dir)
	if err == nil {
		_ = j.Close()
		t.Fatal("it was opened")
	}
	if !errors.Is(err, kind) {
		t.Errorf("error %v, want %v", err, kind)
	}
	for _, w := range append(words, path(dir)) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	if !bytes.Equal(before, read(t, path(dir))) {
		t.Error("the damaged file was written to")
	}
}

// Where a file is cut off it is refused, to the byte.
func TestTruncated(t *testing.T) {
	dir, m := stored(t)
	whole := read(t, path(dir))
	used := len(whole)
	for used > 0 && whole[used-1] == 0 {
		used--
	}
	for i := range times(400) {
		size := rand.IntN(used)
		if i == 0 {
			size = 0 // which bbolt takes for a new one
		}
		write(t, path(dir), whole[:size])
		refused(t, dir, disk.ErrDamaged, "cut off", "backup")
	}
	write(t, path(dir), whole)
	m.check(t, reopened(t, dir))
}

// verdict opens a file to which something was done: it is refused, or all is as it was.
func verdict(t *testing.T, dir string, m *model, what string) (refused bool) {
	t.Helper()
	j, err := disk.Open(dir)
	if err != nil {
		if !errors.Is(err, disk.ErrDamaged) && !errors.Is(err, disk.ErrNewer) || !strings.Contains(err.Error(), path(dir)) {
			t.Fatalf("%s: error %v", what, err)
		}
		return true
	}
	defer shut(t, j)
	var s local.Saved
	if err := j.Load(&s); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if diff := m.differs(s); diff != "" {
		t.Fatalf("%s went unnoticed: %s", what, diff)
	}
	// It takes writes, and they are there after.
	c := set(m.index+1, "after", []byte("the damage"))
	if err := j.Append([]local.Change{c}); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	shut(t, j)
	after := newModel()
	after.add(local.Change{Index: m.index, Rows: s.Rows, Graves: s.Graves, Sessions: s.Sessions}, c)
	after.sessionIndex = m.sessionIndex
	if diff := after.differs(reopened(t, dir)); diff != "" {
		t.Fatalf("%s went unnoticed until the next write: %s", what, diff)
	}
	return false
}

// Each bit of each page's header and of its list of elements, and bits elsewhere: it is
// noticed, or it did no harm, now and with the next write.
func TestFlippedBits(t *testing.T) {
	dir, m := stored(t)
	whole := read(t, path(dir))
	size := os.Getpagesize()
	var found int
	flips := times(6000)
	for i := range flips {
		page := rand.IntN(len(whole) / size)
		at := page*size + rand.IntN(size)
		if i%2 == 0 {
			at = page*size + rand.IntN(160)
		}
		broken := bytes.Clone(whole)
		broken[at] ^= 1 << rand.IntN(8)
		write(t, path(dir), broken)
		if verdict(t, dir, m, fmt.Sprintf("a bit of byte %d of page %d", at%size, page)) {
			found++
		}
	}
	if found < flips/10 {
		t.Errorf("of %d flips %d were noticed: the test proves little", flips, found)
	}
	t.Logf("of %d flips %d were noticed, the others did no harm", flips, found)
}

// Pages that are zero, garbage, another page, or the same page of an earlier time. That of
// one write earlier is not among them: a disk that puts the last head back, which it had synced,
// gives a sound store of one write ago.
func TestWrongPages(t *testing.T) {
	dir, m := stored(t)
	older := read(t, path(dir))
	j, _ := open(t, dir)
	for i := range 300 {
		c := set(m.index+1, fmt.Sprintf("rows/%04d", i), bytes.Repeat([]byte{byte(i + 1)}, 100))
		m.add(c)
		add(t, j, c)
	}
	shut(t, j)
	whole := read(t, path(dir))
	size := os.Getpagesize()
	found := map[string]int{}
	for i := range times(2000) {
		at := size * rand.IntN(min(len(whole), len(older))/size)
		broken := bytes.Clone(whole)
		what := []string{"zero", "garbage", "another", "earlier"}[i%4]
		switch page := broken[at : at+size]; what {
		case "zero":
			clear(page)
		case "garbage":
			for i := range page {
				page[i] = byte(rand.Uint32())
			}
		case "another":
			copy(page, whole[size*rand.IntN(len(whole)/size):])
		case "earlier":
			copy(page, older[at:])
		}
		write(t, path(dir), broken)
		if verdict(t, dir, m, fmt.Sprintf("page %d: %s", at/size, what)) {
			found[what]++
		}
	}
	if len(found) != 4 {
		t.Errorf("noticed: %v, want some of each", found)
	}
	t.Logf("noticed: %v", found)
}

// Files that are no store at all.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	garbage := make([]byte, 100<<10)
	for i := range garbage {
		garbage[i] = byte(rand.Uint32())
	}
	for _, b := range [][]byte{garbage, make([]byte, 100<<10), []byte("SQLite format 3"), {}} {
		write(t, path(dir), b)
		refused(t, dir, disk.ErrDamaged, "backup")
	}
}

// bbolt falls back to the older head without a word: the last acknowledged write is gone.
// Here it is an error.
func TestNewerHeadDamaged(t *testing.T) {
	dir, m := stored(t)
	whole := read(t, path(dir))
	size := os.Getpagesize()
	txid := func(b []byte) uint64 { return binary.NativeEndian.Uint64(b[16+48:]) }
	newer := 0
	if txid(whole[size:]) > txid(whole) {
		newer = size
	}
	for _, head := range []int{0, size} {
		broken := bytes.Clone(whole)
		broken[head+16+20] ^= 1
		write(t, path(dir), broken)
		refused(t, dir, disk.ErrDamaged, "checksum", fmt.Sprint("head ", head/size))

		// The control: bbolt opens it, and only the newer head makes a difference.
		db, err := bolt.Open(path(dir), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *bolt.Tx) error {
			last := bytes.Contains(tx.Bucket([]byte("rows")).Get([]byte("=rows/0273")), []byte("value 39"))
			if last == (head == newer) {
				t.Errorf("head %d is damaged, and bbolt has the last write: %v", head/size, last)
			}
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path(dir), whole)
	m.check(t, reopened(t, dir))
}

// A head that is sound, and that of an earlier time: the disk lost the writes since.
func TestOlderHead(t *testing.T) {
	dir, m := stored(t)
	older := read(t, path(dir))
	j, _ := open(t, dir)
	for range 3 {
		c := set(m.index+1, "rows/0001", []byte("new"))
		m.add(c)
		add(t, j, c)
	}
	shut(t, j)
	whole := read(t, path(dir))
	size := os.Getpagesize()
	for head := range 2 {
		broken := bytes.Clone(whole)
		copy(broken[head*size:(head+1)*size], older[head*size:])
		write(t, path(dir), broken)
		refused(t, dir, disk.ErrDamaged, "earlier time")
	}
	write(t, path(dir), whole)
	m.check(t, reopened(t, dir))
}

// A page that is in use and is listed as free: the next write would go over it.
func TestFreeAndInUse(t *testing.T) {
	dir, _ := stored(t)
	b := read(t, path(dir))
	size, order := os.Getpagesize(), binary.NativeEndian
	head := b[16:]
	if order.Uint64(b[size+16+48:]) > order.Uint64(head[48:]) {
		head = b[size+16:]
	}
	root, list := order.Uint64(head[16:]), b[int(order.Uint64(head[32:]))*size:]
	if order.Uint16(list[10:]) == 0 {
		t.Fatal("no page is free: the test proves nothing")
	}
	order.PutUint64(list[16:], root)
	write(t, path(dir), b)
	refused(t, dir, disk.ErrDamaged, fmt.Sprintf("page %d is used twice", root))
}

// change makes a change in the file past the journal.
func change(t *testing.T, dir string, f func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path(dir), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// Records of which each verifies, but not all together; and a format of tomorrow.
func TestWrongRecords(t *testing.T) {
	for what, c := range map[string]struct {
		kind  error
		words []string
		do    func(tx *bolt.Tx) error
	}{
		"a row is missing": {disk.ErrDamaged, []string{"bucket rows", "has 303 records"}, func(tx *bolt.Tx) error { return tx.Bucket([]byte("rows")).Delete([]byte("=rows/0001")) }},
		"a row of yesterday": {disk.ErrDamaged, []string{"bucket rows", "sum"}, func(tx *bolt.Tx) error {
			r := disk.Records(&local.Row{Path: "rows/0001"}, local.Grave{}, &local.Session{})[0]
			return tx.Bucket([]byte("rows")).Put([]byte("=rows/0001"), r)
		}},
		"a row under another key": {disk.ErrDamaged, []string{"bucket rows", `"=rows/0001"`, `that of "rows/0002"`}, func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("rows"))
			return b.Put([]byte("=rows/0001"), bytes.Clone(b.Get([]byte("=rows/0002"))))
		}},
		"a bad byte": {disk.ErrDamaged, []string{"bucket graves", `"=b"`, "verify"}, func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("graves"))
			v := bytes.Clone(b.Get([]byte("=b")))
			v[len(v)-1] ^= 4
			return b.Put([]byte("=b"), v)
		}},
		"a grave among sessions": {disk.ErrDamaged, []string{"bucket sessions", `"=s1"`}, func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("sessions")).Put([]byte("=s1"), bytes.Clone(tx.Bucket([]byte("graves")).Get([]byte("=b"))))
		}},
		"no sessions": {disk.ErrDamaged, []string{"bucket sessions"}, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("sessions")) }},
		"a bucket": {disk.ErrDamaged, []string{"other"}, func(tx *bolt.Tx) error {
			b, err := tx.CreateBucket([]byte("other"))
			return errors.Join(err, b.Put([]byte("k"), []byte("v")))
		}},
		"no tally":  {disk.ErrDamaged, []string{"tally"}, func(tx *bolt.Tx) error { return tx.Bucket([]byte("about")).Delete([]byte("tally")) }},
		"no format": {disk.ErrDamaged, []string{"format"}, func(tx *bolt.Tx) error { return tx.Bucket([]byte("about")).Delete([]byte("format")) }},
		"format 0":  {disk.ErrDamaged, []string{"format"}, func(tx *bolt.Tx) error { return tx.Bucket([]byte("about")).Put([]byte("format"), disk.PutFormat(0)) }},
		"format 1":  {disk.ErrDamaged, []string{"format 1"}, func(tx *bolt.Tx) error { return tx.Bucket([]byte("about")).Put([]byte("format"), disk.PutFormat(1)) }},
		"no log":    {disk.ErrDamaged, []string{"key log"}, func(tx *bolt.Tx) error { return tx.Bucket([]byte("about")).Delete([]byte("log")) }},
		"format 3": {disk.ErrNewer, []string{"newer format: 3", "later"}, func(tx *bolt.Tx) error {
			return errors.Join(tx.Bucket([]byte("about")).Put([]byte("format"), disk.PutFormat(3)), tx.Bucket([]byte("rows")).Put([]byte("k"), []byte("other")))
		}},
	} {
		t.Run(what, func(t *testing.T) {
			dir, _ := stored(t)
			change(t, dir, c.do)
			refused(t, dir, c.kind, c.words...)
		})
	}
}

// A file that is damaged while it is open: the next write says so, or does no harm;
// nothing crashes, and the folder can be let go.
func TestDamagedWhileOpen(t *testing.T) {
	panicked := 0
	for _, size := range []int64{0, 4096, 16384, 65536} {
		dir, m := stored(t)
		j, _ := open(t, dir)
		if err := os.Truncate(path(dir), size); err != nil {
			t.Fatal(err)
		}
		err := j.Append([]local.Change{set(m.index+1, "rows/0150", []byte("new"))})
		if err == nil || errors.Is(err, local.ErrNotWritten) || !strings.Contains(err.Error(), path(dir)) {
			t.Errorf("cut to %d bytes: error %v", size, err)
		}
		if errors.Is(err, disk.ErrPanicked) {
			panicked++
		}
		if again := j.Append([]local.Change{set(m.index+2, "x", nil)}); again == nil || again.Error() != err.Error() {
			t.Errorf("the next write: %v", again)
		}
		shut(t, j)
		refused(t, dir, disk.ErrDamaged)
	}
	if panicked == 0 {
		t.Error("nothing made bbolt panic: the test proves little")
	}
}

// What was cut off while a store was made is made anew.
func TestCutOffWhileMade(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "store.db.new"), []byte("half"))
	j, _ := open(t, dir)
	add(t, j, set(1, "a", nil))
	shut(t, j)
	if _, err := os.Stat(filepath.Join(dir, "store.db.new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stayed behind: %v", err)
	}
}
