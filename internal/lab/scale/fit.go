//go:build linux

package scale

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// PerAgent is what an agent with two targets takes of the machine, in bytes: its own
	// memory, its kernel's part (stacks, page tables, connections) and Consul's for its
	// connections.
	PerAgent = 6 << 20
	// Reserve is what is left to Consul, the disk's cache and everybody else, in bytes.
	Reserve = 2 << 30
	// threads is how many an agent has at most, as they share the numbers of processes.
	threads = 12
)

// Fit is how many agents run as processes in so many bytes of available memory.
func Fit(available int64) int {
	return int(max(0, available-Reserve) / PerAgent)
}

// room is the memory that is available, in bytes. The error says that it is too little for
// so many nodes, or that the machine allows too few processes.
func room(nodes int) (int64, error) {
	available, err := meminfo("MemAvailable")
	if err != nil {
		return 0, err
	}
	if n := Fit(available); n < nodes {
		return available, fmt.Errorf("%d nodes as processes need %d MiB of memory, and %d MiB are available: %d fit; ask for so many, or free some",
			nodes, (int64(nodes)*PerAgent+Reserve)>>20, available>>20, n)
	}
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return available, err
	}
	ids, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return available, fmt.Errorf("/proc/sys/kernel/pid_max: %w", err)
	}
	if n := ids * 3 / 4 / threads; n < nodes {
		return available, fmt.Errorf("%d nodes have %d threads in all, and the machine has numbers for %d: %d nodes fit; raise kernel.pid_max, or ask for so many", nodes, nodes*threads, ids, n)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return available, err
	}
	if need := uint64(nodes)*2 + 200; files.Max < need {
		return available, fmt.Errorf("%d nodes need %d open files here, and %d are allowed: raise the hard limit (ulimit -Hn)", nodes, need, files.Max)
	}
	return available, nil
}

// meminfo is a row of /proc/meminfo in bytes.
func meminfo(name string) (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo does not tell %s", name)
}

// onDisk refuses a folder that is in memory: an fsync there costs nothing.
func onDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("the folder of the nodes, %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("the folder of the nodes, %s, is in memory, where an fsync costs nothing: give one on a disk; TMPDIR is where temporary ones are", dir)
	}
	return nil
}
