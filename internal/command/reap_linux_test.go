package command

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that gets orphans waits for them, and never for the commands that it runs.
func TestReapOrphans(t *testing.T) {
	const child = "KVEXPRESS_TEST_SUBREAPER"
	if os.Getenv(child) == "" { // in a process of its own, which no other test shares
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReapOrphans$")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	go reap(t.Context())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if r, err := Run(t.Context(), Command{Argv: sh("(true &) ; exit 5")}); r.ExitCode != 5 {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
	all.Wait()
	for unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil {
		runtime.Gosched() // until there is no child any more
	}
}
