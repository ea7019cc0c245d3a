package disk_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
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
// to the last of some writes.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	work := job{Batches: 12}
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
			have := holds(t, work.Dir, last)
			// It goes on where it was.
			more, _ := job{Dir: work.Dir, Batches: 2}.says(t)
			if holds(t, work.Dir, acked(t, more)) != have+2 {
				t.Fatalf("killed at %s %d: then %q", name, i+1, more)
			}
		}
	}
	if missed > kills/4 || kills < 40 {
		t.Errorf("%d kills, %d missed", kills, missed)
	}
	t.Logf("%d kills, %d missed", kills, missed)
}

// Fault 4: a sync that fails. Nothing more is written; what was acknowledged is there after a
// restart.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for i := range 8 {
		dir := filepath.Join(base, fmt.Sprint(i))
		job{Dir: dir, Batches: 5}.says(t)
		wrapper, _ := strace(t, inject("fdatasync", "error=EIO", i+1)...)
		lines, _ := job{Dir: dir, Batches: 8}.says(t, wrapper...)
		last, failed := acked(t, lines), 0
		for _, line := range lines {
			switch {
			case strings.HasPrefix(line, "unknown "):
				failed++
				if !strings.Contains(line, "input/output error; the disk may be failing") || !strings.Contains(line, path(dir)) {
					t.Errorf("sync %d: it says %q", i+1, line)
				}
			case failed > 0 || strings.HasPrefix(line, "refused "):
				t.Errorf("sync %d: it goes on: %q", i+1, lines)
			}
		}
		if want := 5 + uint64(i/2); last != want || failed != int(13-want) {
			t.Errorf("sync %d: acknowledged up to %d, %d failed: %q", i+1, last, failed, lines)
		}
		holds(t, dir, last)
	}
}

// Writes that fail: of pages for want of room, and then nothing is written and writing goes on;
// of pages otherwise, and of the head, and then nothing more is.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	refused, unknown := 0, 0
	for _, kind := range []string{"ENOSPC", "EDQUOT", "EFBIG", "EIO"} {
		for i := range 14 {
			dir := filepath.Join(base, fmt.Sprint(kind, i))
			job{Dir: dir, Batches: 5}.says(t)
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
			default: // of the file lock
			}
			holds(t, dir, acked(t, lines))
		}
	}
	if refused < 30 || unknown < 10 {
		t.Errorf("%d refused, %d unknown: the test proves little", refused, unknown)
	}
}

// A limit on the size of files: writes are refused, and go on without it.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []uint64{40 << 10, 100 << 10, 130 << 10} {
		dir := t.TempDir()
		lines, _ := job{Dir: dir, Batches: 400, Limit: limit}.says(t)
		refused := 0
		for _, line := range lines {
			if strings.HasPrefix(line, "refused ") {
				refused++
				if !strings.Contains(line, "file too large") || !strings.Contains(line, path(dir)) {
					t.Errorf("it says %q", line)
				}
			}
		}
		if refused != 1 || acked(t, lines) != 400 {
			t.Errorf("with a limit of %d: %d refused, acknowledged %d; the last lines: %q", limit, refused, acked(t, lines), lines[len(lines)-2:])
		}
		holds(t, dir, acked(t, lines))
		if info, err := os.Stat(path(dir)); err != nil || uint64(info.Size()) <= limit {
			t.Errorf("the file never grew over the limit: %v", err)
		}
	}
}
