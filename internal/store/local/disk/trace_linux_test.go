package disk_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kvexpress/internal/store/local/disk"
)

// strace wraps a child, with options, and returns where the trace will be.
func strace(t testing.TB, options ...string) (wrapper []string, trace string) {
	t.Helper()
	trace = filepath.Join(t.TempDir(), "trace")
	return append([]string{"strace", "-f", "-qq", "-o", trace}, options...), trace
}

func inject(name, what string, number int) []string {
	return []string{"-e", "trace=" + name, "-e", "inject=" + name + ":" + what + ":when=" + strconv.Itoa(number)}
}

// steps are the calls by which a journal changes something.
const steps = "pwrite64,fdatasync,fsync,ftruncate,renameat,mkdirat"

// counted are the calls of a child's trace, by name.
func counted(t testing.TB, trace string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for line := range strings.Lines(string(read(t, trace))) {
		if m := regexp.MustCompile(`^\d+ +(\w+)\(`).FindStringSubmatch(line); m != nil {
			n[m[1]]++
		}
	}
	return n
}

// Fault 1: killed at each system call that changes something, from the making of the folder
// to the last of some writes and to Close.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for what, size := range map[string]int64{"without a log": disk.Direct, "small log": smallLog} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			work := job{Batches: 12, Log: size}
			work.Dir = filepath.Join(t.TempDir(), "store")
			wrapper, trace := strace(t, "-e", "trace="+steps)
			if lines, _ := work.says(t, wrapper...); acked(t, lines) != 12 {
				t.Fatalf("without a kill: %q", lines)
			}
			kills, missed := 0, 0
			for name, n := range counted(t, trace) {
				for i := range n {
					if i >= 10 && rand.IntN(3) != 0 && times(10) == 1 {
						continue // a third of the later ones
					}
					work.Dir = filepath.Join(t.TempDir(), "store")
					wrapper, _ := strace(t, inject(name, "signal=KILL", i+1)...)
					lines, killed := work.says(t, wrapper...)
					if !killed {
						missed++ // it was counted for another thread
						continue
					}
					kills++
					last := acked(t, lines)
					// It goes on where it was.
					more, _ := job{Dir: work.Dir, Batches: 2, Log: size, Crash: i%2 == 0}.says(t)
					have := acked(t, more) - 2
					if have < last || have > last+1 || holds(t, work.Dir, have+2) != have+2 {
						t.Fatalf("killed at %s %d: %q, then %q", name, i+1, lines, more)
					}
				}
			}
			if missed > kills/4 || kills < 30 {
				t.Errorf("%d kills, %d missed", kills, missed)
			}
			t.Logf("%d kills, %d missed", kills, missed)
		})
	}
}

// Fault 4: a sync that fails, of the log and of store.db. Nothing more is written; what
// was acknowledged is there after a restart.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	of := map[string]int{}
	for _, size := range []int64{disk.Direct, smallLog, disk.LogSize} {
		for i := range 8 {
			dir := filepath.Join(base, fmt.Sprint(size, "-", i))
			job{Dir: dir, Batches: 5, Log: size}.says(t)
			wrapper, _ := strace(t, inject("fdatasync", "error=EIO", i+1)...)
			lines, _ := job{Dir: dir, Batches: 8}.says(t, wrapper...)
			last, failed := acked(t, lines), 0
			for _, line := range lines {
				switch {
				case strings.HasPrefix(line, "unknown "):
					failed++
					if !strings.Contains(line, "input/output error; the disk may be failing") || !strings.Contains(line, dir) {
						t.Errorf("sync %d: it says %q", i+1, line)
					}
					of[filepath.Base(strings.TrimSuffix(strings.Fields(line)[3], ":"))]++
				case failed > 0 || strings.HasPrefix(line, "refused "):
					t.Errorf("sync %d: it goes on: %q", i+1, lines)
				}
			}
			want := last
			switch size {
			case disk.Direct: // two syncs a batch
				want = 5 + uint64(i/2)
			case disk.LogSize: // one
				want = 5 + uint64(i)
			}
			if last != want || failed != int(13-want) || failed == 0 {
				t.Errorf("log of %d, sync %d: acknowledged up to %d, %d failed: %q", size, i+1, last, failed, lines)
			}
			holds(t, dir, last)
		}
	}
	if of["log"] < 10 || of["store.db"] < 10 {
		t.Errorf("failures were of %v: the test proves little", of)
	}
}

// Writes that fail: of pages and of the log for want of room, and then nothing is written and writing
// goes on; of either otherwise, and of the head, and then nothing more is.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, size := range []int64{disk.Direct, smallLog} {
		refused, unknown := 0, 0
		for _, kind := range []string{"ENOSPC", "EDQUOT", "EFBIG", "EIO"} {
			for i := range 14 {
				dir := filepath.Join(base, fmt.Sprint(size, kind, i))
				job{Dir: dir, Batches: 5, Log: size}.says(t)
				wrapper, _ := strace(t, inject("pwrite64", "error="+kind, i+1)...)
				lines, _ := job{Dir: dir, Batches: 6}.says(t, wrapper...)
				all := strings.Join(lines, "\n")
				switch {
				case strings.Contains(all, "refused "):
					refused++
					if kind == "EIO" || strings.Contains(all, "unknown ") {
						t.Errorf("%s at write %d: %s", kind, i+1, all)
					}
					if acked(t, lines) != 10 {
						t.Errorf("%s at write %d: it does not go on: %s", kind, i+1, all)
					}
				case strings.Contains(all, "unknown "):
					if unknown++; kind != "EIO" {
						t.Errorf("%s at write %d: %s", kind, i+1, all)
					}
				default: // of the file lock, or at Close
				}
				holds(t, dir, acked(t, lines))
			}
		}
		if refused < 20 || unknown < 6 {
			t.Errorf("log of %d: %d refused, %d unknown: the test proves little", size, refused, unknown)
		}
	}
}

// A limit on the size of files, in the middle of the log or of store.db: writes are refused, and go
// on without it. What a record left in the log that was cut off there is no record.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		log   int64
		limit uint64
		file  string
	}{
		{disk.Direct, 40 << 10, "store.db"},
		{disk.Direct, 100 << 10, "store.db"},
		{disk.Direct, 130 << 10, "store.db"},
		{smallLog, 40 << 10, "store.db"},
		{smallLog, 130 << 10, "store.db"},
		{disk.LogSize, 9000, "log"},
		{disk.LogSize, 40 << 10, "log"},
		{disk.LogSize, 130_001, "log"},
	} {
		dir := t.TempDir()
		lines, _ := job{Dir: dir, Batches: 400, Limit: c.limit, Log: c.log, Crash: true}.says(t)
		refused := 0
		for _, line := range lines {
			if strings.HasPrefix(line, "refused ") {
				refused++
				if !strings.Contains(line, "file too large") || !strings.Contains(line, filepath.Join(dir, c.file)) {
					t.Errorf("it says %q", line)
				}
			}
		}
		if refused != 1 || acked(t, lines) != 400 {
			t.Errorf("with a limit of %d: %d refused, acknowledged %d; the last lines: %q", c.limit, refused, acked(t, lines), lines[len(lines)-2:])
		}
		holds(t, dir, acked(t, lines))
		if info, err := os.Stat(filepath.Join(dir, c.file)); err != nil || uint64(info.Size()) <= c.limit {
			t.Errorf("the file never grew over the limit: %v", err)
		}
	}
}

// A record of which all but the last byte got in, and that one was there before: it is whole, and
// was refused, so that it must not be there.
func TestRefusedRecordIsGone(t *testing.T) {
	t.Parallel()
	work := job{Dir: t.TempDir(), Batches: 8, Crash: true, Stop: true, Log: disk.LogSize}
	work.says(t)
	log := read(t, logOf(work.Dir))
	last := records(t, log)[7]
	size := binary.LittleEndian.Uint64(log[last+8:])
	end := uint64(last) + 24 + size
	if log[end-1] != 0 {
		t.Fatal("its last byte is not 0, as those of a new log: the test proves nothing")
	}
	for _, limit := range []uint64{uint64(last), uint64(last) + 10, uint64(last) + 30, end - 1} {
		work.Dir, work.Limit = t.TempDir(), limit
		lines, _ := work.says(t)
		if acked(t, lines) != 7 || !strings.HasPrefix(lines[len(lines)-1], "refused 8") {
			t.Fatalf("with a limit of %d: %q", limit, lines)
		}
		if n := holds(t, work.Dir, 7); n != 7 {
			t.Errorf("with a limit of %d, what was refused is there", limit)
		}
	}
}
