package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU is what a process has used so far, with its threads that have
// ended, to the nanosecond: /proc/PID/stat counts hundredths of a second, which
// an idle agent takes minutes to use.
func processCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: the clock's number is made as clock_getcpuclockid(3) does
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// machineCPU is what all processors of the machine have used so far, in the
// kernel's hundredths of a second.
func machineCPU() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := strings.Fields(string(line))
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

// memory is what a process has of the machine, in MiB: anonymous is its own,
// resident has also the pages of its program, which processes share.
type memory struct{ anonymous, resident float64 }

func processMemory(pid int) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		to := map[string]*float64{"RssAnon": &m.anonymous, "VmRSS": &m.resident}[name]
		if to == nil {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		if err != nil {
			return m, fmt.Errorf("/proc/%d/status: %w", pid, err)
		}
		*to = kib / 1024
	}
	return m, nil
}

// onDisk refuses a folder that is in memory: an fsync there costs nothing.
func onDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is in memory, where an fsync costs nothing: let %s name a folder on a disk", dir, dirEnv)
	}
	return nil
}

// spread asks ext4 to give each folder in dir a place of its own on the disk. By
// itself it puts them all into one group of blocks, where it searches for a free
// inode past all that were freed in the last seconds: a fleet on one disk would
// spend most of its time in that search, which nodes that have a disk each never
// make. Other file systems may refuse; they have no such search.
func spread(dir string) error {
	const topdir = 0x20000 // FS_TOPDIR_FL, as chattr +T
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	flags, err := unix.IoctlGetUint32(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topdir))
	}
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
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
