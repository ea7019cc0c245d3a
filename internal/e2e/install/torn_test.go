package install

import (
	"sync"
	"testing"

	"kvexpress/internal/e2e"
)

// With the real program: four processes at a time install what changes
// under them, and whoever reads the file meanwhile sees the one content or the
// other, whole. The control is a plain write, which the same reader catches.
func TestOutsOfFourProcessesTearNothing(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	contents := []string{e2e.Text("first", 4000), e2e.Text("second", 3000)}
	sources := []string{m.File("first", contents[0]), m.File("second", contents[1])}
	m.Ok("in", "-k", "torn", "-f", sources[0])
	out := []string{"out", "-k", "torn", "-f", m.Path("target")}
	m.Ok(out...)

	torn, reads := e2e.Watched(t, m.Path("target"), contents, func() {
		var workers, publisher sync.WaitGroup
		done := make(chan struct{})
		publisher.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-done:
					return
				default:
					if r := m.Run("in", "-k", "torn", "-f", sources[i%2]); r.Code != 0 {
						t.Errorf("in: %s", r.Stderr)
					}
				}
			}
		})
		for range 4 {
			workers.Go(func() {
				for range e2e.Times(1000) / 4 {
					if r := m.Run(out...); r.Code != 0 {
						t.Errorf("out: %s", r.Stderr)
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

	torn, reads = e2e.Watched(t, m.Path("plain"), contents, func() {
		for i := range 2000 {
			m.File("plain", contents[i%2])
		}
	})
	if t.Logf("torn reads of a plain write: %d of %d", torn, reads); torn == 0 {
		t.Error("the control: the reader does not see a torn file")
	}
}
