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

	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

// crashed is a folder as a crash leaves it after some rounds of the log and some records of the
// last, the model of it, and that of one write before.
func crashed(t testing.TB) (dir string, m, before *model) {
	t.Helper()
	dir = t.TempDir()
	j, _ := open(t, dir)
	m, before = newModel(), newModel()
	for i := range 60 {
		c := set(uint64(i+1), fmt.Sprint("row/", i%17), bytes.Repeat([]byte{byte(i)}, 300+i*7))
		m.add(c)
		if i < 59 {
			before.add(c)
		}
		add(t, j, c)
	}
	return copied(t, dir), m, before
}

// records are the places of those in a log, and where they end.
func records(t testing.TB, log []byte) (at []int) {
	t.Helper()
	place := disk.Start
	var last uint64
	for {
		at = append(at, place)
		number := binary.LittleEndian.Uint64(log[place+16:])
		if last > 0 && number != last+1 {
			break
		}
		last = number
		place += (24 + int(binary.LittleEndian.Uint64(log[place+8:])) + 7) / 8 * 8
	}
	if len(at) < 5 {
		t.Fatalf("there are records at %v: the test proves little", at)
	}
	return at
}

// bad wants a folder to be refused because of its log, and left as it is.
func bad(t *testing.T, dir string, words ...string) {
	t.Helper()
	before := map[string][]byte{}
	for _, f := range []string{path(dir), logOf(dir)} {
		before[f], _ = os.ReadFile(f)
	}
	j, err := disk.Open(dir)
	if err == nil {
		_ = j.Close()
		t.Fatal("it was opened")
	}
	for _, w := range append(words, logOf(dir), "store.db and log back from a backup") {
		if !errors.Is(err, disk.ErrDamaged) || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	for f, b := range before {
		if now, _ := os.ReadFile(f); !bytes.Equal(now, b) {
			t.Errorf("%s was written to", f)
		}
	}
}

// A log that was not closed is read, and the store goes on with it.
func TestAfterACrash(t *testing.T) {
	dir, m, _ := crashed(t)
	for i := range 30 {
		j, s := open(t, dir)
		m.check(t, s)
		c := set(m.index+1, fmt.Sprint("more/", i), bytes.Repeat([]byte("x"), 1500))
		m.add(c)
		add(t, j, c)
		dir = copied(t, dir)
	}
	m.check(t, reopened(t, dir))
	log := read(t, logOf(dir))
	clear(log[disk.Start:]) // after Close all is in store.db
	write(t, logOf(dir), log)
	m.check(t, reopened(t, dir))
}

// A bit anywhere in the log: it is noticed, does no harm, or is in the last write, which then may
// be missing: it cannot be told from one that was cut off.
func TestFlippedBitsOfTheLog(t *testing.T) {
	dir, m, before := crashed(t)
	whole, store := read(t, logOf(dir)), read(t, path(dir))
	at := records(t, whole)
	last, end := at[len(at)-2], at[len(at)-1]
	noticed, harmless, lost := 0, 0, 0
	for i := range times(12000) {
		byteAt := rand.IntN(len(whole))
		switch {
		case i%3 == 0:
			byteAt = at[rand.IntN(len(at)-1)] + rand.IntN(24)
		case i%10 == 1:
			byteAt = last + rand.IntN(end-last)
		}
		broken := bytes.Clone(whole)
		broken[byteAt] ^= 1 << rand.IntN(8)
		write(t, logOf(dir), broken)
		write(t, path(dir), store)
		j, err := disk.Open(dir)
		switch {
		case err == nil:
		case errors.Is(err, disk.ErrDamaged) && strings.Contains(err.Error(), logOf(dir)):
			if noticed++; byteAt >= last {
				t.Errorf("byte %d is not in a record that others follow: %v", byteAt, err)
			}
			continue
		default:
			t.Fatalf("byte %d: %v", byteAt, err)
		}
		var s local.Saved
		if err := errors.Join(j.Load(&s), j.Close()); err != nil {
			t.Fatal(err)
		}
		switch diff := m.differs(s); {
		case diff == "":
			harmless++
		case byteAt >= last && byteAt < end && before.differs(s) == "":
			lost++
		default:
			t.Fatalf("byte %d went unnoticed: %s", byteAt, diff)
		}
	}
	if noticed < 100 || harmless < 100 || lost < 20 {
		t.Errorf("%d noticed, %d harmless, %d in the last write: the test proves little", noticed, harmless, lost)
	}
}

// Logs of which each record verifies, but not all together, and others that are not
// those of the store.
func TestWrongLogs(t *testing.T) {
	other, _, _ := crashed(t)
	for what, c := range map[string]struct {
		words []string
		do    func(log []byte, at []int) []byte
	}{
		"missing":          {[]string{"missing"}, func([]byte, []int) []byte { return nil }},
		"cut off":          {[]string{"has 9000 bytes"}, func(log []byte, _ []int) []byte { return log[:9000] }},
		"longer":           {[]string{"bytes, and should have 16384"}, func(log []byte, _ []int) []byte { return append(log, 0) }},
		"empty":            {[]string{"has 0 bytes"}, func([]byte, []int) []byte { return []byte{} }},
		"another store's":  {[]string{"not the log of this store.db"}, func([]byte, []int) []byte { return read(t, logOf(other)) }},
		"the label":        {[]string{"byte 0"}, func(log []byte, _ []int) []byte { log[9]++; return log }},
		"a zeroed record":  {[]string{"behind it"}, func(log []byte, at []int) []byte { clear(log[at[2]:at[3]]); return log }},
		"the first zeroed": {[]string{"byte 512", "behind it"}, func(log []byte, at []int) []byte { clear(log[at[0]:at[1]]); return log }},
		"all but the last": {[]string{"byte 512", "behind it"}, func(log []byte, at []int) []byte { clear(log[at[0]:at[len(at)-2]]); return log }},
		"one cut out": {[]string{"behind it"}, func(log []byte, at []int) []byte {
			return append(append(bytes.Clone(log[:at[1]]), log[at[2]:]...), make([]byte, at[2]-at[1])...)
		}},
		"the first cut out": {[]string{"byte 512", "behind it"}, func(log []byte, at []int) []byte {
			return append(append(bytes.Clone(log[:at[0]]), log[at[1]:]...), make([]byte, at[1]-at[0])...)
		}},
		"a record of nonsense": {[]string{"byte 512", "does not verify"}, func(log []byte, at []int) []byte {
			label := disk.Label(log)
			number := binary.LittleEndian.Uint64(log[at[0]+16:])
			r := disk.PutBatch(label, number, []local.Change{set(1, "", nil)})
			clear(log[at[0]:])
			copy(log[at[0]:], disk.Resealed(label, r, func(payload []byte) { payload[0] = 9 }))
			return log
		}},
	} {
		t.Run(what, func(t *testing.T) {
			dir, m, _ := crashed(t)
			whole := read(t, logOf(dir))
			if log := c.do(bytes.Clone(whole), records(t, whole)); log != nil {
				write(t, logOf(dir), log)
			} else if err := os.Remove(logOf(dir)); err != nil {
				t.Fatal(err)
			}
			bad(t, dir, c.words...)
			write(t, logOf(dir), whole)
			m.check(t, reopened(t, dir))
		})
	}

	// A store.db of before the last rounds, as a backup of that file alone would be.
	dir, m, older := t.TempDir(), newModel(), []byte(nil)
	j, _ := open(t, dir)
	for i := range 60 {
		c := set(uint64(i+1), fmt.Sprint("row/", i), make([]byte, 1000))
		m.add(c)
		add(t, j, c)
		if i == 20 {
			older = read(t, path(dir))
		}
	}
	shut(t, j)
	now := read(t, path(dir))
	write(t, path(dir), older)
	bad(t, dir, "byte 512", "behind it")
	write(t, path(dir), now)
	m.check(t, reopened(t, dir))
}

// A store.db that is missing beside a log with writes is not replaced by an empty one; beside
// a log that was only made it is, and what was cut off leaves nothing.
func TestLogWithoutStore(t *testing.T) {
	dir, _, _ := crashed(t)
	if err := os.Remove(path(dir)); err != nil {
		t.Fatal(err)
	}
	bad(t, dir, "store.db is missing")
	if _, err := os.Stat(path(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is one now: %v", err)
	}

	dir = t.TempDir()
	j, _ := open(t, dir)
	shut(t, j)
	if err := os.Remove(path(dir)); err != nil {
		t.Fatal(err)
	}
	write(t, logOf(dir)+".new", []byte("half"))
	newModel().check(t, reopened(t, dir))
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 3 {
		t.Errorf("in the folder are %v, %v", names, err)
	}
}

// Values that look like records of the log, in a remnant behind a record that was cut off, are
// none: they are not of this log's label.
func TestForgedRecords(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	forged := disk.PutBatch(disk.PutLabel(smallLog), 1<<40, []local.Change{set(1<<40, "forged", nil)})
	m := newModel()
	for i := range 8 {
		c := set(uint64(i+1), strings.Repeat("p", i), bytes.Repeat(forged, 20))
		m.add(c)
		add(t, j, c)
	}
	shut(t, j)
	log := read(t, logOf(dir))
	clear(log[disk.Start : disk.Start+24])
	write(t, logOf(dir), log)
	m.check(t, reopened(t, dir))
}

// Any log is refused, or gives writes in a row from the next one on; and nothing panics.
func FuzzLog(f *testing.F) {
	label := disk.PutLabel(4 << 10)
	log := make([]byte, 4<<10)
	copy(log, label)
	at := disk.Start
	var ends []int
	for i := range 9 {
		at += copy(log[at:], disk.PutBatch(label, uint64(i+1), []local.Change{set(uint64(10*(i+1)), fmt.Sprint("row/", i), make([]byte, i*20))}))
		ends = append(ends, at)
	}
	f.Add(uint16(0), []byte{}, uint8(0))
	f.Add(uint16(disk.Start), []byte("\xff\xff"), uint8(0))
	f.Add(uint16(disk.Start+8), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"), uint8(3))
	f.Add(uint16(ends[7]+16), []byte{1}, uint8(8))
	f.Add(uint16(ends[3]), log[disk.Start:ends[0]], uint8(2))
	f.Add(uint16(ends[8]), log[disk.Start:ends[0]], uint8(9))
	f.Add(uint16(ends[2]), log[ends[4]:ends[5]], uint8(0))
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, applied uint8) {
		b := bytes.Clone(log)
		at = max(at, disk.Start)
		copy(b[min(int(at), len(b)):], patch)
		have := uint64(min(applied, 9))
		s, last, end, err := disk.Scan(b, label, have)
		_, _ = disk.GetBatch(patch) // does not panic
		if err != nil {
			return
		}
		if last > have && (s.Index != last*10 || len(s.Rows) != int(last-have) || end != int64(ends[last-1])) {
			t.Errorf("after %d there are writes up to %d, index %d, %d rows, end %d", have, last, s.Index, len(s.Rows), end)
		}
		if last < 9 && !touches(b, log, ends, int(last)) {
			t.Errorf("write %d is missing, and is whole", last+1)
		}
		if last < 8 && bytes.Equal(b[ends[7]:ends[8]], log[ends[7]:ends[8]]) {
			t.Errorf("writes from %d on are missing, and 9 is whole", last+1)
		}
	})
}

// touches reports whether the record before ends[i], or one before it, is another.
func touches(b, log []byte, ends []int, i int) bool {
	return !bytes.Equal(b[disk.Start:ends[i]], log[disk.Start:ends[i]])
}
