package bench

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// memory is what a process has of the machine, in MiB: anonymous is its own,
// resident has also the pages of its program, which processes share.
type memory struct{ anonymous, resident float64 }

func processMemory(pid int) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for name, to := range map[string]*float64{"RssAnon:": &m.anonymous, "VmRSS:": &m.resident} {
		_, kib, _ := strings.Cut(string(status), name)
		if _, err := fmt.Sscan(kib, to); err != nil {
			return m, fmt.Errorf("/proc/%d/status, %s %w", pid, name, err)
		}
		*to /= 1024
	}
	return m, nil
}

// processCPU is what a process has used so far, with its threads that have ended and
// without its children, to the nanosecond: /proc/PID/stat counts hundredths of a second.
func processCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: the clock's number is made as clock_getcpuclockid(3) does
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// onDisk refuses a folder that is in memory: an fsync there costs nothing.
func onDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("the folder %s is in memory; %s names one on a disk", dir, dirEnv)
	}
	return nil
}

// enoughFiles says whether a process may open n files. Go raises the soft limit to
// the hard one by itself.
func enoughFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Max < n {
		return fmt.Errorf("a process may open %d files at most, and this needs %d: raise the hard limit (ulimit -Hn)", limit.Max, n)
	}
	return nil
}
