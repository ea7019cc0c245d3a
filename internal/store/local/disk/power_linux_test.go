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

	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

// event is what a traced journal did: a write of one of its files, a new size, a sync, or
// that it opened with, or acknowledged, a batch.
type event struct {
	name, file string
	data       []byte
	at         int64 // where it was written; the size; or the number of the batch
}

// files are those of which a power loss may keep a part.
func files() []string { return []string{"store.db", "log"} }

// In a trace with -xx paths are in hexadecimal as well; what is made has another name at first.
var (
	tracedWrite = regexp.MustCompile(`pwrite64\(\d+<([^>]*)>, "([^"]*)", \d+, (\d+)`)
	tracedSize  = regexp.MustCompile(`ftruncate\(\d+<([^>]*)>, (\d+)`)
	tracedSync  = regexp.MustCompile(`f(?:data)?sync\(\d+<([^>]*)>\) += 0`)
	tracedRest  = regexp.MustCompile(`<\.\.\. \w+ resumed>(.*)`)
	tracedAck   = regexp.MustCompile(`write\(1<[^>]*>, "([^"]*)"`)
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// events are what a child did that was traced with all bytes.
func events(t testing.TB, trace []byte) (all []event) {
	t.Helper()
	number := func(s []byte) int64 {
		n, err := strconv.ParseInt(string(s), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	note := func(e event, path []byte) {
		if e.file = filepath.Base(string(unhex(t, string(path)))); slices.Contains(files(), e.file) {
			all = append(all, e)
		}
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
			note(event{name: "write", data: unhex(t, string(m[2])), at: number(m[3])}, m[1])
		} else if m := tracedSize.FindSubmatch(line); m != nil {
			note(event{name: "size", at: number(m[2])}, m[1])
		} else if m := tracedSync.FindSubmatch(line); m != nil {
			note(event{name: "sync"}, m[1])
		} else if m := tracedAck.FindSubmatch(line); m != nil {
			said := unhex(t, string(m[1]))
			if n := acked(t, []string{string(said)}); n > 0 {
				all = append(all, event{name: "ack", at: int64(n)})
			}
		}
	}
	return all
}

// platter is a disk that may lose what was not synced.
type platter struct {
	durable []byte
	pending []event
	dead    bool // syncs do nothing: the negative control
}

func (p *platter) take(e event) {
	switch {
	case e.name == "write" || e.name == "size":
		p.pending = append(p.pending, e)
	case e.name == "sync" && !p.dead:
		for _, e := range p.pending {
			p.durable = put(p.durable, e, 1)
		}
		p.pending = nil
	}
}

// lost is what a power loss leaves now: any of the sectors that were not synced.
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
	if e.name == "size" {
		if rand.Float64() < share && int(e.at) > len(image) {
			image = append(image, make([]byte, int(e.at)-len(image))...)
		}
		return image
	}
	var next int
	for off := 0; off < len(e.data); off = next {
		next = min(off+sector-(int(e.at)+off)%sector, len(e.data))
		if rand.Float64() >= share {
			continue
		}
		piece := e.data[off:next]
		if end := int(e.at) + off + len(piece); end > len(image) {
			image = append(image, make([]byte, end-len(image))...)
		}
		copy(image[int(e.at)+off:], piece)
	}
	return image
}

// Fault 13: power loss at any moment. Of what was not synced, any sectors reach the disk and
// any do not. What was acknowledged is there, and the write under way is there whole or not
// at all. With a disk that ignores the syncs of a file, the controls, it is not so.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for what, size := range map[string]int64{"without a log": disk.Direct, "small log": smallLog, "large log": disk.LogSize} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			work := job{Dir: filepath.Join(t.TempDir(), "store"), Batches: 20, Log: size, Crash: true}
			work.says(t)
			initial, before := images(t, work.Dir), uint64(20)
			if size == smallLog {
				// One more batch, that only the operating system remembers: who opens the folder
				// makes it durable before it tells of it.
				for work.Batches = 1; ; before++ {
					work.says(t)
					now := images(t, work.Dir)
					if bytes.Equal(now["store.db"], initial["store.db"]) {
						break
					}
					initial = now
				}
			}
			const batches = 60
			work.Batches, work.Crash = batches, false
			wrapper, trace := strace(t, "-y", "-xx", "-s", "2000000", "-e", "trace=pwrite64,ftruncate,fdatasync,fsync,write")
			if lines, _ := work.says(t, wrapper...); acked(t, lines) < before+batches {
				t.Fatalf("it says %q", lines)
			}
			all := events(t, read(t, trace))
			losses, failures := map[string]int{}, map[string]int{}
			for _, dead := range append(files(), "") {
				if dead == "log" && size == disk.Direct || dead == "store.db" && size == disk.LogSize {
					continue // it is hardly used
				}
				disks, acked := map[string]*platter{}, before
				for _, f := range files() {
					disks[f] = &platter{durable: bytes.Clone(initial[f]), dead: f == dead}
				}
				for i, e := range all {
					if e.name == "ack" {
						acked = uint64(e.at)
					} else {
						disks[e.file].take(e)
					}
					if times(10) == 1 && rand.IntN(8) != 0 && i > 8 { // the first are those of Open
						continue
					}
					what := lossOf(t, disks, acked)
					losses[dead]++
					if what != "" {
						failures[dead]++
					}
					if what != "" && dead == "" {
						t.Errorf("at event %d of %d, %s %s, with %d acknowledged: %s", i, len(all), e.name, e.file, acked, what)
					}
				}
				for _, f := range files() {
					if dead == "" && !bytes.Equal(disks[f].durable, read(t, filepath.Join(work.Dir, f))) {
						t.Errorf("the trace does not give the file %s: the test proves little", f)
					}
				}
			}
			for dead, n := range losses {
				if dead != "" && failures[dead] < n/10 {
					t.Errorf("of %d losses %d did harm on a disk that ignores syncs of %s: the test proves little", n, failures[dead], dead)
				}
			}
			t.Logf("losses of power %v, by the file whose syncs are ignored; harm %v", losses, failures)
		})
	}
}

// images are the files of a folder.
func images(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, f := range files() {
		all[f] = read(t, filepath.Join(dir, f))
	}
	return all
}

// lossOf says what is wrong with what a power loss left.
func lossOf(t *testing.T, disks map[string]*platter, acked uint64) string {
	dir := t.TempDir()
	for f, p := range disks {
		write(t, filepath.Join(dir, f), p.lost())
	}
	j, err := disk.Open(dir)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = j.Close() }()
	var s local.Saved
	if err := j.Load(&s); err != nil {
		return err.Error()
	}
	n := s.Index / 10
	if n < acked || n > acked+1 {
		return fmt.Sprintf("%d batches are there", n)
	}
	return after(n).differs(s)
}
