package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"kvexpress/internal/lab/machine"
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

// onDisk refuses a folder that is in memory.
func onDisk(dir string) error {
	if err := machine.OnDisk(dir); err != nil {
		return fmt.Errorf("%w; %s names it", err, dirEnv)
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
