//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Need is what a fleet of processes takes of the machine.
type Need struct {
	PerNode int64 // bytes: all processes of a node, with the kernel's part (stacks, page tables, connections)
	Reserve int64 // bytes that are left to all the rest: servers, the disk's cache, everybody else
	Threads int   // of a node at most: they share the numbers of processes
	Files   int   // that this process has open for a node at most
}

// ownFiles is how many files this process has open besides those of nodes.
const ownFiles = 200

// Fit is how many nodes run in so many bytes of available memory.
func (n Need) Fit(available int64) int { return int(max(0, available-n.Reserve) / n.PerNode) }

// Room is the memory that is available, in bytes. The error says that the machine has too
// little of something for so many nodes, and how many fit.
func (n Need) Room(nodes int) (int64, error) {
	available, err := Available()
	if err != nil {
		return 0, err
	}
	return available, errors.Join(n.files(nodes), n.memory(nodes, available), n.threads(nodes))
}

func (n Need) memory(nodes int, available int64) error {
	if fit := n.Fit(available); fit < nodes {
		return fmt.Errorf("%d nodes need %d MiB of memory, and %d MiB are available: %d fit; ask for so many, or free some",
			nodes, (int64(nodes)*n.PerNode+n.Reserve)>>20, available>>20, fit)
	}
	return nil
}

func (n Need) threads(nodes int) error {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return err
	}
	ids, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("/proc/sys/kernel/pid_max: %w", err)
	}
	if fit := ids * 3 / 4 / n.Threads; fit < nodes {
		return fmt.Errorf("%d nodes have %d threads in all, and the machine has numbers for %d: %d fit; raise kernel.pid_max, or ask for so many",
			nodes, nodes*n.Threads, ids, fit)
	}
	return nil
}

func (n Need) files(nodes int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if need := uint64(nodes*n.Files + ownFiles); limit.Max < need {
		return fmt.Errorf("%d nodes need %d open files here, and %d are allowed: %d fit; raise the hard limit (ulimit -Hn), or ask for so many",
			nodes, need, limit.Max, (limit.Max-min(limit.Max, ownFiles))/uint64(n.Files))
	}
	return nil
}

// Available is the memory that can be had without swapping, in bytes.
func Available() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo does not tell MemAvailable")
}
