package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/disk"
)

const (
	pageSize = 4096
	batches  = 60 // in the files that are damaged
)

// damage is a bad byte, or the end of the file.
type damage struct {
	At  int
	Xor byte // 0: the file ends here
}

// damage does each of the damages to a copy of the file, and prints the results.
func (j job) damage() error {
	whole, err := os.ReadFile(path(j.Dir))
	if err != nil {
		return err
	}
	base, err := os.MkdirTemp("/dev/shm", "kvexpress")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	for i, d := range j.Damages {
		fmt.Fprintf(os.Stdout, "%+v ", d)
		file := bytes.Clone(whole[:d.At])
		if d.Xor != 0 {
			file = bytes.Clone(whole)
			file[d.At] ^= d.Xor
		}
		fmt.Fprintln(os.Stdout, verdict(fmt.Sprint(base, "/", i), file, d))
	}
	return nil
}

// verdict opens a damaged file: it is refused by name and left as it is, or all is right, also after more writes.
// If the damage is to a head, the last batch may be missing.
func verdict(dir string, file []byte, d damage) string {
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path(dir), file, 0o600)); err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	load := func() (*disk.Journal, embedded.Saved, error) {
		var s embedded.Saved
		db, err := disk.Open(dir)
		if err == nil {
			err = db.Load(&s)
		}
		return db, s, err
	}
	db, s, err := load()
	if err != nil {
		named := errors.Is(err, disk.ErrDamaged) && strings.Contains(err.Error(), path(dir))
		if now, _ := os.ReadFile(path(dir)); !named || !bytes.Equal(now, file) {
			return "WRONG: " + err.Error()
		}
		return "refused: " + err.Error()
	}
	result, n := "right", uint64(batches)
	if s.Index/10 == batches-1 && d.Xor != 0 && d.At < 2*pageSize {
		result, n = "older", n-1
	}
	for ; ; n++ {
		diff := after(n).differs(s)
		switch {
		case diff != "":
			err = errors.Join(errors.New(diff), db.Close())
		case n == batches+2:
			err = db.Close()
		default:
			err = errors.Join(db.Append(batch(n+1)), db.Close())
		}
		if err != nil {
			return fmt.Sprintf("WRONG after %d batches: %v", n, err)
		}
		if n == batches+2 {
			return result
		}
		if db, s, err = load(); err != nil {
			return "WRONG: " + err.Error()
		}
	}
}

// stored is a folder with some batches.
func stored(t testing.TB) (dir string, file []byte) {
	t.Helper()
	dir = t.TempDir()
	j, _ := open(t, dir)
	for n := range uint64(batches) {
		add(t, j, batch(n+1)...)
	}
	shut(t, j)
	return dir, read(t, path(dir))
}

// outcomes runs damages in a child process, which must survive, and counts the results.
func outcomes(t *testing.T, dir string, damages []damage) map[string]int {
	t.Helper()
	lines, _ := job{Dir: dir, Damages: damages}.says(t)
	if len(lines) != len(damages) {
		t.Fatalf("of %d damages it tells of %d", len(damages), len(lines))
	}
	count := map[string]int{}
	for _, line := range lines {
		_, what, _ := strings.Cut(line, "} ")
		what, _, _ = strings.Cut(what, ":")
		if count[what]++; strings.HasPrefix(what, "WRONG") {
			t.Error(line)
		}
	}
	t.Log(count)
	return count
}

// One bad byte anywhere, most of them where pages have their heads and lists: the file is refused by name, or all is right.
// Nothing ends the process.
func TestBadByte(t *testing.T) {
	t.Parallel()
	dir, file := stored(t)
	damages := make([]damage, times(3000))
	for i := range damages {
		at := rand.IntN(len(file))
		switch i % 4 {
		case 0, 1:
			at = at/pageSize*pageSize + rand.IntN(160)
		case 2:
			at = rand.IntN(2)*pageSize + rand.IntN(80)
		}
		damages[i] = damage{At: at, Xor: byte(1 + rand.IntN(255))}
	}
	if count := outcomes(t, dir, damages); count["refused"] < 20 || count["right"] < 20 || count["older"] == 0 {
		t.Error("the test proves little")
	}
}

// The damages that do the most harm: pages that the tree has twice, which bbolt follows for ever, and lists of bbolt's that
// no reader needs, by which a later write does harm.
func TestBadPages(t *testing.T) {
	t.Parallel()
	dir, file := stored(t)
	kinds := map[string][]damage{}
	add := func(kind string, at int, was, now byte) {
		if was != now {
			kinds[kind] = append(kinds[kind], damage{At: at, Xor: was ^ now})
		}
	}
	for page := 2; page < len(file)/pageSize; page++ {
		head, order := file[page*pageSize:], binary.NativeEndian
		if order.Uint64(head) != uint64(page) {
			continue // the rest of a large one
		}
		switch at, count := page*pageSize, int(order.Uint16(head[10:])); order.Uint16(head[8:]) {
		case 1: // a branch
			for i := range min(count, 10) {
				add("circle", at+16+16*i+8, head[16+16*i+8], byte(page))
				key := 16 + 16*i + int(order.Uint32(head[16+16*i:])) + int(order.Uint32(head[16+16*i+4:])) - 1
				add("branch key", at+key, head[key], head[key]-1)
			}
		case 2: // a leaf
			add("count", at+10, head[10], head[10]-1)
			add("overflow", at+12, head[12], head[12]+1)
			add("a leaf as a branch", at+8, 2, 1)
		case 0x10: // the list of free pages
			for i := range count {
				for used := range 40 {
					add("free and used", at+16+8*i, head[16+8*i], byte(2+used))
				}
			}
		}
	}
	t.Run("circle over a page of no known kind", func(t *testing.T) {
		other := bytes.Clone(file)
		for _, d := range kinds["circle"] {
			other[d.At/pageSize*pageSize+8] = 0x10 // bbolt reads it as a branch all the same
		}
		odd := t.TempDir()
		write(t, path(odd), other)
		if outcomes(t, odd, kinds["circle"])["refused"] == 0 { // some pages are in no tree any more
			t.Error("a circle is taken for a tree")
		}
	})
	for _, kind := range []string{"circle", "branch key", "count", "overflow", "a leaf as a branch", "free and used"} {
		damages := kinds[kind]
		rand.Shuffle(len(damages), func(i, j int) { damages[i], damages[j] = damages[j], damages[i] })
		t.Run(kind, func(t *testing.T) {
			if len(damages) == 0 {
				t.Fatal("there is none")
			}
			outcomes(t, dir, damages[:min(len(damages), times(400))])
		})
	}
}

// Where a file is cut off it is refused, or only bytes are missing that are not used.
func TestTruncated(t *testing.T) {
	t.Parallel()
	dir, file := stored(t)
	used := len(bytes.TrimRight(file, "\x00"))
	damages := []damage{{At: 0}, {At: 1}, {At: pageSize}, {At: 2 * pageSize}}
	for range times(400) {
		damages = append(damages, damage{At: rand.IntN(used)})
	}
	if count := outcomes(t, dir, damages); count["refused"] < len(damages)/2 {
		t.Error("the test proves little")
	}
}

// Files that are no store, and records that verify, but not all together. The remedy works.
func TestWrongRecords(t *testing.T) {
	rows, about := []byte("rows"), []byte("about")
	garbage := make([]byte, 100<<10)
	for i := range garbage {
		garbage[i] = byte(rand.Uint32())
	}
	older := func(bucket []byte) (key, record []byte) {
		dir := t.TempDir()
		j, _ := open(t, dir)
		add(t, j, set(1, "row/001", []byte("old")))
		shut(t, j)
		change(t, dir, func(tx *bolt.Tx) error {
			k, v := tx.Bucket(bucket).Cursor().First()
			key, record = bytes.Clone(k), bytes.Clone(v)
			return nil
		})
		return key, record
	}
	for what, c := range map[string]struct {
		kind error
		word string
		file []byte
		do   func(tx *bolt.Tx) error
	}{
		"garbage":    {disk.ErrDamaged, "invalid", garbage, nil},
		"zeros":      {disk.ErrDamaged, "invalid", make([]byte, 100<<10), nil},
		"another's":  {disk.ErrDamaged, "invalid", []byte("SQLite format 3"), nil},
		"empty":      {disk.ErrDamaged, "empty", []byte{}, nil},
		"no bucket":  {disk.ErrDamaged, "bucket rows", nil, func(tx *bolt.Tx) error { return tx.DeleteBucket(rows) }},
		"no summary": {disk.ErrDamaged, "missing or outdated", nil, func(tx *bolt.Tx) error { return tx.Bucket(about).Delete([]byte("=")) }},
		"an old row": {disk.ErrDamaged, "missing or outdated", nil, func(tx *bolt.Tx) error {
			key, record := older(rows)
			return tx.Bucket(rows).Put(key, record)
		}},
		"a row too few": {disk.ErrDamaged, "missing or outdated", nil, func(tx *bolt.Tx) error {
			key, _ := tx.Bucket(rows).Cursor().First()
			return tx.Bucket(rows).Delete(key)
		}},
		"another key": {disk.ErrDamaged, `bucket rows, key "=row/001"`, nil, func(tx *bolt.Tx) error {
			_, record := tx.Bucket(rows).Cursor().Last()
			return tx.Bucket(rows).Put([]byte("=row/001"), bytes.Clone(record))
		}},
		"format 2": {disk.ErrDamaged, "bucket about", nil, func(tx *bolt.Tx) error {
			return tx.Bucket(about).Put([]byte("format"), []byte("2"))
		}},
		"format 6": {disk.ErrFolder, "format is 6", nil, func(tx *bolt.Tx) error {
			return tx.Bucket(about).Put([]byte("="), disk.AboutOf(6))
		}},
	} {
		t.Run(what, func(t *testing.T) {
			dir, _ := stored(t)
			if c.do != nil {
				change(t, dir, c.do)
			} else {
				write(t, path(dir), c.file)
			}
			before := read(t, path(dir))
			_, err := disk.Open(dir)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), path(dir)) {
				t.Fatalf("error %v, want %v with %q", err, c.kind, c.word)
			}
			if !bytes.Equal(before, read(t, path(dir))) {
				t.Error("the file was written to")
			}
			if _, remedy, _ := strings.Cut(err.Error(), "left unchanged; "); c.kind == disk.ErrDamaged {
				move, _, _ := strings.Cut(remedy, ",")
				run(t, "sh", "-c", move)
				newModel().check(t, reopened(t, dir))
			}
		})
	}
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

// A file that is damaged while it is open: the next write says so and is the last; nothing crashes, and the folder can be let go.
func TestDamagedWhileOpen(t *testing.T) {
	for _, size := range []int64{0, pageSize, 4 * pageSize, 16 * pageSize} {
		dir, _ := stored(t)
		j, s := open(t, dir)
		if err := os.Truncate(path(dir), size); err != nil {
			t.Fatal(err)
		}
		err := j.Append([]embedded.Change{set(s.Index+1, "row/150", []byte("new"))})
		if err == nil || errors.Is(err, embedded.ErrNotWritten) || !strings.Contains(err.Error(), path(dir)) {
			t.Errorf("cut to %d bytes: error %v", size, err)
		}
		if again := j.Append([]embedded.Change{set(s.Index+2, "x", nil)}); again == nil || again.Error() != err.Error() {
			t.Errorf("the next write: %v", again)
		}
		shut(t, j)
		if _, err := disk.Open(dir); !errors.Is(err, disk.ErrDamaged) {
			t.Errorf("opened again: %v", err)
		}
	}
}
