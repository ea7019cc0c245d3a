package consultest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// dieWithParent has the kernel kill the agent when the test program has ended
// without its clean-ups, as after a panic or a time-out.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// stopped tells whether all threads of a process obey SIGSTOP: the signal stops one after the other.
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil { // it has ended
			continue
		}
		if state := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])[0]; string(state) != "T" {
			return false
		}
	}
	return err == nil
}
