package e2e

import (
	"crypto/sha256"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// Fault 12, with the real program: four processes at a time install what changes
// under them, and whoever reads the file meanwhile sees the one content or the
// other, whole. The control is a plain write, which the same reader catches.
func TestOutsOfFourProcessesTearNothing(t *testing.T) {
	t.Parallel()
	_, m := start(t)
	contents := []string{text("first", 4000), text("second", 3000)}
	sources := []string{m.file("first", contents[0]), m.file("second", contents[1])}
	m.ok("in", "-k", "torn", "-f", sources[0])
	out := []string{"out", "-k", "torn", "-f", m.path("target")}
	m.ok(out...)

	torn, reads := watched(t, m.path("target"), contents, func() {
		var workers, publisher sync.WaitGroup
		done := make(chan struct{})
		publisher.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-done:
					return
				default:
					if r := m.run("in", "-k", "torn", "-f", sources[i%2]); r.code != 0 {
						t.Errorf("in: %s", r.stderr)
					}
				}
			}
		})
		for range 4 {
			workers.Go(func() {
				for range times(1000) / 4 {
					if r := m.run(out...); r.code != 0 {
						t.Errorf("out: %s", r.stderr)
					}
				}
			})
		}
		workers.Wait()
		close(done)
		publisher.Wait()
	})
	t.Logf("torn reads: %d of %d", torn, reads)
	if torn > 0 || reads == 0 {
		t.Errorf("%d of %d reads were torn", torn, reads)
	}

	torn, reads = watched(t, m.path("plain"), contents, func() {
		for i := range 2000 {
			m.file("plain", contents[i%2])
		}
	})
	if t.Logf("torn reads of a plain write: %d of %d", torn, reads); torn == 0 {
		t.Error("the control: the reader does not see a torn file")
	}
}

// watched reads a file for as long as work takes, and counts the reads that were
// of none of the contents.
func watched(t *testing.T, path string, contents []string, work func()) (torn, reads int) {
	t.Helper()
	whole := map[[32]byte]bool{}
	for _, c := range contents {
		whole[sha256.Sum256([]byte(c))] = true
	}
	var stop atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !stop.Load() {
			b, err := os.ReadFile(path)
			if os.IsNotExist(err) && reads == 0 {
				continue // not made yet
			}
			if reads++; err != nil || !whole[sha256.Sum256(b)] {
				torn++
			}
		}
	})
	work()
	stop.Store(true)
	reader.Wait()
	return torn, reads
}
