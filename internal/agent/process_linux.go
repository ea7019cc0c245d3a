package agent

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// usage asks the kernel. What it does not tell, such as without /proc, stays 0.
func usage() (use processUse) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err == nil {
		use.cpu = float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 { // in pages: the whole, then what is resident
			pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
			use.resident = float64(pages) * float64(os.Getpagesize())
		}
	}
	use.files = float64(openFiles())
	return use
}

func openFiles() int {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	names, err := dir.Readdirnames(-1)
	if cerr := dir.Close(); err != nil || cerr != nil {
		return 0
	}
	return len(names) - 1 // without dir's own
}
