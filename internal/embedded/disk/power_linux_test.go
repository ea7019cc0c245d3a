package disk_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/disk"
)

// event is an operation of a traced journal: a write of a file, a new size, a sync of a file or of the folder, a rename, or
// that it opened with, or acknowledged, a batch.
type event struct {
	name, file string
	data       []byte
	at         int64 // where it was written; the size; or the number of the batch
}

// In a trace with -xx paths are in hexadecimal as well.
var (
	tracedWrite  = regexp.MustCompile(`pwrite64\(\d+<([^>]*)>, "([^"]*)", \d+, (\d+)`)
	tracedSize   = regexp.MustCompile(`ftruncate\(\d+<([^>]*)>, (\d+)`)
	tracedSync   = regexp.MustCompile(`f(?:data)?sync\(\d+<([^>]*)>\) += 0`)
	tracedRename = regexp.MustCompile(`renameat2?\(`)
	tracedRest   = regexp.MustCompile(`<\.\.\. \w+ resumed>(.*)`)
	tracedAck    = regexp.MustCompile(`write\(1<[^>]*>, "([^"]*)"`)
)

func unhex(t testing.TB, s []byte) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(string(s), `\x`, ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// events are the operations of a child that was traced with all bytes.
func events(t testing.TB, trace []byte) (all []event) {
	t.Helper()
	note := func(name string, path, data, at []byte) {
		e := event{name: name, file: filepath.Base(unhex(t, path)), data: []byte(unhex(t, data))}
		if len(at) > 0 {
			var err error
			if e.at, err = strconv.ParseInt(string(at), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, e)
	}
	halves := map[string][]byte{} // by thread
	for line := range bytes.Lines(trace) {
		// A call is in two parts where another thread made one meanwhile. It counts when it is done;
		// all that changes files is of one thread.
		thread, _, _ := bytes.Cut(line, []byte(" "))
		if begun, _, cut := bytes.Cut(line, []byte(" <unfinished ...>")); cut {
			halves[string(thread)] = begun
			continue
		}
		if m := tracedRest.FindSubmatch(line); m != nil {
			line = slices.Concat(halves[string(thread)], m[1])
		}
		if m := tracedWrite.FindSubmatch(line); m != nil {
			note("write", m[1], m[2], m[3])
		} else if m := tracedSize.FindSubmatch(line); m != nil {
			note("size", m[1], nil, m[2])
		} else if m := tracedSync.FindSubmatch(line); m != nil {
			note("sync", m[1], nil, nil)
		} else if tracedRename.Match(line) {
			note("rename", nil, nil, nil)
		} else if m := tracedAck.FindSubmatch(line); m != nil {
			if n := acked([]string{unhex(t, m[1])}); n > 0 {
				note("ack", nil, nil, strconv.AppendUint(nil, n, 10))
			}
		}
	}
	return all
}

// platter is a file on a disk that may lose unsynced sectors.
type platter struct {
	durable []byte
	pending []event
}

func (p *platter) sync() {
	for _, e := range p.pending {
		p.durable = put(p.durable, e, 1)
	}
	p.pending = nil
}

// lost is the file after a power loss now: any of the unsynced sectors may be missing.
func (p *platter) lost() []byte {
	image := bytes.Clone(p.durable)
	share := []float64{0, 0.1, 0.5, 0.9, 1}[rand.IntN(5)]
	for _, e := range p.pending {
		image = put(image, e, share)
	}
	return image
}

// put makes a write, with a share of its sectors.
func put(image []byte, e event, share float64) []byte {
	const sector = 512
	grow := func(size int) {
		if size > len(image) {
			image = append(image, make([]byte, size-len(image))...)
		}
	}
	if e.name == "size" {
		if rand.Float64() < share {
			grow(int(e.at))
		}
		return image
	}
	var next int
	for off := 0; off < len(e.data); off = next {
		next = min(off+sector-(int(e.at)+off)%sector, len(e.data))
		if rand.Float64() < share {
			grow(int(e.at) + next)
			copy(image[int(e.at)+off:], e.data[off:next])
		}
	}
	return image
}

// folder is one on such a disk, with the file, the one that is made, and the one that was replaced, until the folder is synced.
type folder struct {
	file, made, old *platter
	dead            bool // syncs of files do nothing: the negative control
	deadFolder      bool // those of the folder: another one
}

func (f *folder) take(e event) {
	p := f.file
	if e.file == "store.db.new" {
		if f.made == nil {
			f.made = &platter{}
		}
		p = f.made
	}
	switch {
	case e.name == "write" || e.name == "size":
		p.pending = append(p.pending, e)
	case e.name == "rename":
		if f.old == nil || !f.deadFolder {
			f.old = f.file
		}
		f.file, f.made = f.made, nil
	case e.name == "sync" && strings.HasPrefix(e.file, "store.db"):
		if !f.dead {
			p.sync()
		}
	case e.name == "sync" && !f.deadFolder:
		f.old = f.file
	}
}

// after writes the folder as it is after a power loss.
func (f *folder) after(t *testing.T, dir string) {
	left := f.file
	if f.old != f.file && rand.IntN(2) == 0 {
		left = f.old
	}
	if left != nil {
		write(t, path(dir), left.lost())
	}
	if f.made != nil {
		write(t, path(dir)+".new", f.made.lost())
	}
}

// Power loss at any moment, from the making of the store on, and over a restart. Any of the unsynced sectors may
// be missing. Acknowledged writes are there, and the current write is there whole or not at all. The controls, disks that
// ignore syncs, lose writes.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	const batches = 40
	dir := filepath.Join(t.TempDir(), "store")
	var all []event
	for i := range 2 {
		wrapper, trace := strace(t, "-y", "-xx", "-s", "2000000", "-e", "trace=pwrite64,ftruncate,fdatasync,fsync,write,renameat")
		if lines, _ := (job{Dir: dir, Batches: batches}).says(t, wrapper...); acked(lines) != uint64(i+1)*batches {
			t.Fatalf("it says %q", lines)
		}
		all = append(all, events(t, read(t, trace))...)
	}
	losses, failures := map[string]int{}, map[string]int{}
	for _, control := range []string{"files", "folder", ""} {
		f, have := &folder{dead: control == "files", deadFolder: control == "folder"}, uint64(0)
		for i, e := range all {
			if e.name == "ack" {
				have = uint64(e.at)
			} else {
				f.take(e)
			}
			if times(10) == 1 && rand.IntN(4) != 0 && e.name != "rename" {
				continue
			}
			what := lossOf(t, f, have)
			losses[control]++
			if what != "" {
				failures[control]++
			}
			if what != "" && control == "" {
				t.Errorf("at event %d of %d, %s %s, with %d acknowledged: %s", i, len(all), e.name, e.file, have, what)
			}
		}
		if control == "" && !bytes.Equal(f.file.durable, read(t, path(dir))) {
			t.Error("the trace does not give the file: the test proves little")
		}
	}
	for _, control := range []string{"files", "folder"} {
		if failures[control] < losses[control]/10 {
			t.Errorf("%d of %d losses did harm without syncs of %s: the test proves little", failures[control], losses[control], control)
		}
	}
	t.Logf("losses of power %v, by unsynced file; harm %v", losses, failures)
}

// lossOf says which promise is broken after a power loss.
func lossOf(t *testing.T, f *folder, have uint64) string {
	dir := t.TempDir()
	f.after(t, dir)
	j, err := disk.Open(dir)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = j.Close() }()
	var s embedded.Saved
	if err := j.Load(&s); err != nil {
		return err.Error()
	}
	n := s.Index / 10
	if n < have || n > have+1 {
		return fmt.Sprintf("%d batches are there", n)
	}
	return after(n).differs(s)
}
