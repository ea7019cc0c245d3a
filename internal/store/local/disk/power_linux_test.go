package disk_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

// event is what a traced journal did: a write of its file, a new size, a sync, or that a batch
// was acknowledged.
type event struct {
	name string
	data []byte
	at   int64 // where it was written; the size; or the number of the batch
}

// In a trace with -xx paths are in hexadecimal as well: this is /store.db.
var (
	tracedWrite = regexp.MustCompile(`pwrite64\(\d+<[^>]*\\x2f\\x73\\x74\\x6f\\x72\\x65\\x2e\\x64\\x62>, "([^"]*)", \d+, (\d+)`)
	tracedSize  = regexp.MustCompile(`ftruncate\(\d+<[^>]*\\x2f\\x73\\x74\\x6f\\x72\\x65\\x2e\\x64\\x62>, (\d+)`)
	tracedSync  = regexp.MustCompile(`f(data)?sync\(\d+<[^>]*\\x2f\\x73\\x74\\x6f\\x72\\x65\\x2e\\x64\\x62>\) += 0`)
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
	for line := range bytes.Lines(trace) {
		if bytes.Contains(line, []byte("sync(")) && bytes.Contains(line, []byte("unfinished")) {
			t.Fatalf("a sync is in two parts: %s", line) // only the journal's thread makes traced calls
		}
		if m := tracedWrite.FindSubmatch(line); m != nil {
			all = append(all, event{name: "write", data: unhex(t, string(m[1])), at: number(m[2])})
		} else if m := tracedSize.FindSubmatch(line); m != nil {
			all = append(all, event{name: "size", at: number(m[1])})
		} else if tracedSync.Match(line) {
			all = append(all, event{name: "sync"})
		} else if m := tracedAck.FindSubmatch(line); m != nil {
			var n int64
			if _, err := fmt.Sscanf(string(unhex(t, string(m[1]))), "ack %d", &n); err == nil {
				all = append(all, event{name: "ack", at: n})
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
	for off := 0; off < len(e.data); off += sector {
		if rand.Float64() >= share {
			continue
		}
		piece := e.data[off:min(off+sector, len(e.data))]
		if end := int(e.at) + off + len(piece); end > len(image) {
			image = append(image, make([]byte, end-len(image))...)
		}
		copy(image[int(e.at)+off:], piece)
	}
	return image
}

// Fault 13: power loss at any moment. Of what was not synced, any sectors reach the disk and
// any do not. What was acknowledged is there, and the write under way is there whole or not
// at all. With a disk that ignores syncs, the control, it is not so.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	const before, batches = 20, 60
	dir := filepath.Join(t.TempDir(), "store")
	job{Dir: dir, Batches: before}.says(t)
	initial := read(t, path(dir))
	wrapper, trace := strace(t, "-y", "-xx", "-s", "1000000", "-e", "trace=pwrite64,ftruncate,fdatasync,fsync,write")
	if lines, _ := (job{Dir: dir, Batches: batches}).says(t, wrapper...); acked(t, lines) != before+batches {
		t.Fatalf("it says %q", lines)
	}
	all := events(t, read(t, trace))

	losses, failures := 0, map[bool]int{}
	for _, dead := range []bool{false, true} {
		p, acked := platter{durable: bytes.Clone(initial), dead: dead}, uint64(before)
		for i, e := range all {
			p.take(e)
			if e.name == "ack" {
				acked = uint64(e.at)
			}
			if times(10) == 1 && rand.IntN(8) != 0 {
				continue
			}
			what := lossOf(t, p.lost(), acked)
			losses++
			if what != "" {
				failures[dead]++
			}
			if what != "" && !dead {
				t.Errorf("at event %d of %d, %s, with %d acknowledged: %s", i, len(all), e.name, acked, what)
			}
		}
		if !bytes.Equal(p.durable, read(t, path(dir))) && !dead {
			t.Error("the trace does not give the file: the test proves little")
		}
	}
	if failures[true] < losses/10 {
		t.Errorf("of %d losses %d did harm on a disk that ignores syncs: the test proves little", losses/2, failures[true])
	}
	t.Logf("%d losses of power; %d did harm, and %d on a disk that ignores syncs", losses, failures[false], failures[true])
}

// lossOf says what is wrong with what a power loss left.
func lossOf(t *testing.T, image []byte, acked uint64) string {
	dir := t.TempDir()
	write(t, path(dir), image)
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
