package proc

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Room is an error if a fleet that needs so many bytes, and a reserve for all others, do not
// fit into memory.
func Room(need, reserve int64) error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	var available int64 // KiB, without swapping
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	if _, err := fmt.Sscan(rest, &available); err != nil {
		return fmt.Errorf("read MemAvailable in /proc/meminfo: %w", err)
	}
	if left := max(0, available<<10-reserve); left < need {
		return fmt.Errorf("the nodes need %d MiB of memory, and %d are free: ask for fewer nodes", need>>20, left>>20)
	}
	return nil
}

// Changed is when the kernel last noted a change of a file, such as the rename that put it
// in place: to its tick, which is 4 ms at 250 Hz.
func Changed(path string) (time.Time, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", path, err)
	}
	return time.Unix(s.Ctim.Unix()), nil
}
