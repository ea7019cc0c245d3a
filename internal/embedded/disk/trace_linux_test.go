package disk_test

import (
	"math/rand/v2"
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

// Killed at each system call that changes something, from the making of the folder to the last of some writes and to
// Close, and, in a folder that is there, from Open on.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for what, first := range map[string]int{"new": 0, "there": 12} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			begin := func() job {
				work := job{Dir: filepath.Join(t.TempDir(), "store"), Batches: first}
				if first > 0 {
					work.says(t)
				}
				work.Batches = 12
				return work
			}
			wrapper, trace := strace(t, "-e", "trace=pwrite64,fdatasync,fsync,ftruncate,renameat,mkdirat,unlinkat")
			if lines, _ := begin().says(t, wrapper...); acked(lines) != uint64(first+12) {
				t.Fatalf("without a kill: %q", lines)
			}
			kills, missed := 0, 0
			for name, n := range counted(t, trace) {
				for i := range n {
					if i >= 10 && rand.IntN(3) != 0 && times(10) == 1 {
						continue // a third of the later ones
					}
					work := begin()
					wrapper, _ := strace(t, inject(name, "signal=KILL", i+1)...)
					lines, killed := work.says(t, wrapper...)
					if !killed {
						missed++ // it was counted for another thread
						continue
					}
					kills++
					last := max(acked(lines), uint64(first))
					// It goes on where it was.
					work.Batches = 2
					more, _ := work.says(t)
					have := acked(more) - 2
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

// After a failed sync, the journal refuses writes. Acknowledged batches are there after a restart.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	unknown := 0
	for i := range 14 {
		dir := t.TempDir()
		job{Dir: dir, Batches: 5}.says(t)
		wrapper, _ := strace(t, inject("fdatasync", "error=EIO", i+1)...)
		lines, _ := job{Dir: dir, Batches: 8}.says(t, wrapper...)
		last, failed := max(5, acked(lines)), 0
		for _, line := range lines {
			switch {
			case strings.HasPrefix(line, "unknown "), strings.HasPrefix(line, "failed "):
				failed++
				if !strings.Contains(line, "input/output error; the disk may be failing") || !strings.Contains(line, dir) {
					t.Errorf("sync %d: it says %q", i+1, line)
				}
			case failed > 0 || strings.HasPrefix(line, "refused "):
				t.Errorf("sync %d: it goes on: %q", i+1, lines)
			}
		}
		if strings.HasPrefix(lines[0], "open ") {
			unknown++
			if failed != int(13-last) || failed == 0 {
				t.Errorf("sync %d: acknowledged up to %d, %d failed: %q", i+1, last, failed, lines)
			}
		}
		holds(t, dir, last)
	}
	if unknown < 10 {
		t.Errorf("%d failed after Open: the test proves little", unknown)
	}
}

// After a write that found no space, the journal accepts writes again; after any other failed write, it refuses them. An Open that has
// no space for a new file uses the old one.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	came := map[string]int{}
	for i := range 16 {
		for _, kind := range []string{"ENOSPC", "EDQUOT", "EFBIG", "EIO"} {
			call, number := "pwrite64", i+1
			if i >= 14 { // the file is made larger
				call, number = "ftruncate", i-13
			}
			dir := t.TempDir()
			job{Dir: dir, Batches: 5}.says(t)
			wrapper, _ := strace(t, inject(call, "error="+kind, number)...)
			lines, _ := job{Dir: dir, Batches: 30}.says(t, wrapper...)
			what, last := "gone on", uint64(35)
			for _, line := range lines {
				if word, _, _ := strings.Cut(line, " "); word == "refused" || word == "unknown" || word == "failed" {
					what = word
				}
			}
			came[what]++
			if what == "refused" {
				last--
			}
			room := kind != "EIO" || call == "ftruncate" // bbolt reports it as text
			if room != (what == "refused" || what == "gone on") || room && acked(lines) != last {
				t.Errorf("%s at %s %d: %s", kind, call, number, strings.Join(lines, "\n"))
			}
			holds(t, dir, max(5, acked(lines)))
		}
	}
	if came["refused"] < 20 || came["unknown"] < 6 || came["gone on"] < 3 {
		t.Errorf("%v: the test proves little", came)
	}
	t.Log(came)
}
